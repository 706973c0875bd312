//! What is answered before the body: redirects, refusals, and when `100 Continue` is sent.

use crate::exhibit::{Exhibit, ROOT, Raw};

fn put(target: &str, headers: &[&str]) -> String {
    format!(
        "PUT {target} HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n",
        headers.join("\r\n")
    )
}

const AUTH: &str = "Authorization: Basic cm9vdDo=";
const EXPECT: &str = "Expect: 100-continue";

#[tokio::test(flavor = "multi_thread")]
async fn fe_redirects_to_another_port_and_never_sends_100() {
    let x = Exhibit::with_table().await;
    let mut raw = Raw::to(&x.standin.addresses.fe_http).await;
    raw.send(&put(
        "/api/d/t/_stream_load?a=b",
        &[AUTH, EXPECT, "Content-Length: 10"],
    ))
    .await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 307 Temporary Redirect\r\n"), "{head}");
    let location = format!(
        "location: {}/api/d/t/_stream_load?a=b\r\n",
        x.standin.addresses.be_http
    );
    assert!(head.contains(&location), "{head}");
    assert!(head.contains("content-type: text/html\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(head.contains("content-length: 0\r\n"), "{head}");
    assert!(raw.is_closed().await);
    assert_ne!(x.standin.addresses.fe_http, x.standin.addresses.be_http);
}

#[tokio::test(flavor = "multi_thread")]
async fn fe_without_expect_is_a_failed_200() {
    let x = Exhibit::with_table().await;
    let mut raw = Raw::to(&x.standin.addresses.fe_http).await;
    raw.send(&put("/api/d/t/_stream_load", &[AUTH, "Content-Length: 0"]))
        .await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(
        raw.body(&head).await,
        "{\n  \"Status\": \"FAILED\",\n  \"Message\": \"class com.starrocks.common.DdlException: There is no 100-continue \
         header\"\n}"
    );
    assert!(raw.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_needs_no_expect() {
    let x = Exhibit::with_table().await;
    let mut raw = Raw::to(&x.standin.addresses.fe_http).await;
    raw.send(&format!("PUT /api/d/t/_stream_load HTTP/1.0\r\n{AUTH}\r\n\r\n"))
        .await;
    assert!(raw.head().await.contains(" 307 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_are_401_with_both_messages() {
    let x = Exhibit::with_table().await;
    for (auth, message) in [
        ("X-None: 1", "Need auth information."),
        (
            "Authorization: Basic cm9vdDp3cm9uZw==",
            "Access denied for root@127.0.0.1",
        ),
    ] {
        let mut raw = Raw::to(&x.standin.addresses.fe_http).await;
        raw.send(&put(
            "/api/d/t/_stream_load",
            &[auth, EXPECT, "Content-Length: 0"],
        ))
        .await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
        assert!(head.contains("www-authenticate: Basic realm=\"\"\r\n"), "{head}");
        let body = raw.body(&head).await;
        assert_eq!(
            body,
            format!(r#"{{"status":"FAILED","code":"1","msg":"{message}","message":"{message}"}}"#)
        );
    }
}

/// The BE's answer to a request whose body was never sent: it must come without a 100.
async fn refused(x: &Exhibit, target: &str, headers: &[&str]) -> String {
    let mut raw = Raw::to(&x.standin.addresses.be_http).await;
    raw.send(&put(target, &[&[AUTH, EXPECT, "format: json"], headers].concat()))
        .await;
    let head = raw.head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n"),
        "no 100 may come first: {head}"
    );
    let body = raw.body(&head).await;
    assert!(body.starts_with("{\n    \"TxnId\": "), "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["Status"], "Fail", "{body}");
    body["Message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn be_refuses_in_the_header_phase_without_100() {
    let x = Exhibit::with_table().await;
    let t = "/api/d/t/_stream_load";
    let length = "Content-Length: 10";
    assert_eq!(
        refused(&x, "/api/d/nope/_stream_load", &[length]).await,
        "unknown table, table=nope"
    );
    assert_eq!(
        refused(&x, "/api/nope/t/_stream_load", &[length]).await,
        "unknown database, database=nope"
    );
    for (header, text) in [
        ("timeout: soon", "Invalid timeout format"),
        (
            "strict_mode: maybe",
            "Invalid strict mode format. Must be bool type",
        ),
        (
            "timezone: Nowhere/Land",
            "Unknown or incorrect time zone: 'Nowhere/Land'",
        ),
        (
            "merge_condition: name",
            "Merge condition column name with type varchar(20) is not supported",
        ),
        (
            "merge_condition: id",
            "Merge condition column id should not be primary key",
        ),
    ] {
        assert_eq!(refused(&x, t, &[length, header]).await, text);
    }
    assert_eq!(
        refused(&x, t, &["Content-Length: 104857601"]).await,
        "The size of this batch exceed the max size [104857600]  of json type data  data [ 104857601 ]. Set \
         ignore_json_size to skip the check, although it may lead huge memory consuming."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn be_sends_100_then_reads_chunked_bodies() {
    let x = Exhibit::with_table().await;
    let mut raw = Raw::to(&x.standin.addresses.be_http).await;
    let headers = [
        AUTH,
        EXPECT,
        "format: json",
        "label: chunked",
        "Transfer-Encoding: chunked",
    ];
    raw.send(&put("/api/d/t/_stream_load", &headers)).await;
    assert_eq!(raw.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("8\r\n{\"id\":1}\r\n0\r\n\r\n").await;
    let head = raw.head().await;
    let body = raw.body(&head).await;
    let keys: Vec<&str> = body.lines().filter_map(|l| l.trim().split('"').nth(1)).collect();
    assert_eq!(
        keys,
        [
            "TxnId",
            "Label",
            "Status",
            "Message",
            "NumberTotalRows",
            "NumberLoadedRows",
            "NumberFilteredRows",
            "NumberUnselectedRows",
            "LoadBytes",
            "LoadTimeMs",
            "BeginTxnTimeMs",
            "StreamLoadPlanTimeMs",
            "ReadDataTimeMs",
            "WriteDataTimeMs",
            "CommitAndPublishTimeMs"
        ]
    );
    assert!(
        body.contains(
            "\n    \"Status\": \"Success\",\n    \"Message\": \"OK\",\n    \"NumberTotalRows\": 1,"
        ),
        "{body}"
    );
    assert_eq!(x.select("SELECT id FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn be_needs_credentials_too() {
    let x = Exhibit::with_table().await;
    let url = format!("{}/api/d/t/_stream_load", x.standin.addresses.be_http);
    let none: serde_json::Value = x.http.put(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&none["Status"], &none["Message"]),
        (&"Fail".into(), &"no valid Basic authorization".into())
    );
    let wrong = x
        .http
        .put(&url)
        .basic_auth("root", Some("x"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 200);
    let wrong: serde_json::Value = wrong.json().await.unwrap();
    assert_eq!(wrong["Message"], "Access denied for root@127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_the_redirect_loads() {
    let x = Exhibit::with_table().await;
    let fe = format!("{}/api/d/t/_stream_load", x.standin.addresses.fe_http);
    let hop = x
        .http
        .put(fe)
        .header("authorization", ROOT)
        .header("expect", "100-continue")
        .send()
        .await
        .unwrap();
    assert_eq!(hop.status(), 307);
    let be = hop.headers()["location"].to_str().unwrap().to_owned();
    let done = x
        .http
        .put(be)
        .header("authorization", ROOT)
        .header("format", "json")
        .body("{\"id\":7}");
    let done: serde_json::Value = done.send().await.unwrap().json().await.unwrap();
    assert_eq!(done["Status"], "Success", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_body_writes_nothing() {
    let x = Exhibit::with_table().await;
    let mut raw = Raw::to(&x.standin.addresses.be_http).await;
    raw.send(&put(
        "/api/d/t/_stream_load",
        &[AUTH, "format: json", "label: short", "Content-Length: 100"],
    ))
    .await;
    raw.send("{\"id\":1}").await;
    drop(raw);
    x.until("short", "ABORTED").await;
    assert_eq!(x.select("SELECT count(*) FROM t").await, "0");
}
