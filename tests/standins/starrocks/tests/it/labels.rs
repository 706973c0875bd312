//! Labels and what outlives a client.

use std::time::Duration;

use serde_json::json;

use crate::exhibit::{Exhibit, ROOT, Raw};

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_label_is_taken_for_the_whole_database() {
    let x = Exhibit::with_table().await;
    x.sql("CREATE TABLE u (id BIGINT) PRIMARY KEY(id)").await;
    assert_eq!(
        x.load_with("t", &[("label", "one")], "{\"id\":1}").await["Status"],
        "Success"
    );
    let again = x.load_with("u", &[("label", "one")], "{\"id\":1}").await;
    assert_eq!(again["Status"], "Label Already Exists");
    assert_eq!(again["ExistingJobStatus"], "FINISHED");
    assert_eq!(again["TxnId"], -1);
    assert_eq!(again["Message"], "Label [one] has already been used.");
    assert_eq!(x.state_of("one").await, "VISIBLE");
    assert_eq!(x.state_of("other").await, "UNKNOWN");
    assert_eq!(x.select("SELECT count(*) FROM u").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_label_is_free() {
    let x = Exhibit::with_table().await;
    let strict = [("label", "l"), ("strict_mode", "true")];
    assert_eq!(
        x.load_with("t", &strict, "{\"id\":1,\"v\":\"x\"}").await["Status"],
        "Fail"
    );
    assert_eq!(x.state_of("l").await, "ABORTED");
    assert_eq!(
        x.load_with("t", &strict, "{\"id\":1,\"v\":1}").await["Status"],
        "Success"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_load_is_running_until_cancelled_and_its_label_reusable() {
    let x = Exhibit::with_table().await;
    let fault = x.fault(json!({"kind": "hold_prepare", "count": 1})).await;
    let held = x.load_with("t", &[("label", "held")], "{\"id\":1}");
    let cancel = async {
        x.until("held", "PREPARE").await;
        let running = x.load_with("t", &[("label", "held")], "{\"id\":1}").await;
        assert_eq!(running["Status"], "Label Already Exists");
        assert_eq!(running["ExistingJobStatus"], "RUNNING");
        assert_eq!(
            x.select("SELECT count(*) FROM information_schema.loads WHERE STATE = 'LOADING'")
                .await,
            "1"
        );
        let url = format!("{}/api/d/t/_cancel?label=held", x.standin.addresses.fe_http);
        let reply = x
            .http
            .post(url)
            .header("authorization", ROOT)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(
            reply,
            r#"{"status":"OK","code":"0","msg":"Success","message":"OK"}"#
        );
    };
    let (reply, ()) = tokio::join!(held, cancel);
    assert_eq!(reply["Status"], "Fail", "{reply}");
    assert!(
        reply["Message"]
            .as_str()
            .unwrap()
            .contains("already aborted, abort reason: user cancel"),
        "{reply}"
    );
    assert_eq!(x.state_of("held").await, "ABORTED");
    assert!(x.standin.cluster.faults.remove(fault));
    assert_eq!(
        x.load_with("t", &[("label", "held")], "{\"id\":2}").await["Status"],
        "Success"
    );
    assert_eq!(x.select("SELECT id FROM t").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_load_cannot_be_cancelled() {
    let x = Exhibit::with_table().await;
    x.load_with("t", &[("label", "done")], "{\"id\":1}").await;
    let url = format!("{}/api/d/t/_cancel?label=done", x.standin.addresses.fe_http);
    let reply: serde_json::Value = x
        .http
        .post(url)
        .header("authorization", ROOT)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["status"], "FAILED", "{reply}");
    assert_eq!(x.state_of("done").await, "VISIBLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_outlives_its_client() {
    let x = Exhibit::with(|config| config.settings.publish_delay = Duration::from_millis(50)).await;
    x.sql("CREATE DATABASE d").await;
    x.sql("CREATE TABLE t (id BIGINT) PRIMARY KEY(id)").await;
    let id = x.fault(json!({"kind": "hold_prepare"})).await;
    let mut raw = Raw::to(&x.standin.addresses.be_http).await;
    raw.send(
        "PUT /api/d/t/_stream_load HTTP/1.1\r\nHost: x\r\nAuthorization: Basic cm9vdDo=\r\nformat: json\r\nlabel: orphan\r\n\
         Content-Length: 8\r\n\r\n{\"id\":1}",
    )
    .await;
    x.until("orphan", "PREPARE").await;
    drop(raw);
    x.standin.cluster.faults.remove(id);
    x.until("orphan", "VISIBLE").await;
    assert_eq!(x.select("SELECT id FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_header_ends_a_load_that_hangs() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "hold_prepare", "count": 1})).await;
    let reply = x
        .load_with("t", &[("label", "slow"), ("timeout", "1")], "{\"id\":1}")
        .await;
    assert_eq!(reply["Status"], "Fail");
    assert!(
        reply["Message"]
            .as_str()
            .unwrap()
            .contains("timeout by txn manager"),
        "{reply}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_by_both() {
    let x = Exhibit::new().await;
    for url in [&x.standin.addresses.fe_http, &x.standin.addresses.be_http] {
        let body = x
            .http
            .get(format!("{url}/api/health"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(body.contains("OK"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_gathers_loads_under_one_label() {
    let x = Exhibit::with_table().await;
    let be = format!("{}/api/transaction", x.standin.addresses.be_http);
    let post = |operation: &str, body: &str| {
        let request = x
            .http
            .post(format!("{be}/{operation}"))
            .header("authorization", ROOT);
        let request = request
            .header("db", "d")
            .header("table", "t")
            .header("label", "txn")
            .header("format", "json");
        let request = request.body(body.to_owned());
        async move {
            request
                .send()
                .await
                .unwrap()
                .json::<serde_json::Value>()
                .await
                .unwrap()
        }
    };
    assert_eq!(post("load", "{\"id\":1}").await["Status"], "TXN_NOT_EXISTS");
    assert_eq!(post("begin", "").await["Status"], "OK");
    assert_eq!(post("begin", "").await["Status"], "LABEL_ALREADY_EXISTS");
    assert_eq!(post("load", "{\"id\":1}").await["Status"], "OK");
    assert_eq!(post("load", "{\"id\":2}").await["LoadBytes"], 8);
    assert_eq!(x.select("SELECT count(*) FROM t").await, "0");
    let prepared = post("prepare", "").await;
    assert_eq!(
        (&prepared["Status"], &prepared["NumberLoadedRows"]),
        (&json!("OK"), &json!(2))
    );
    assert_eq!(x.state_of("txn").await, "PREPARED");
    let fe = format!("{}/api/transaction/commit", x.standin.addresses.fe_http);
    let commit = x
        .http
        .post(&fe)
        .header("authorization", ROOT)
        .header("db", "d")
        .header("table", "t")
        .header("label", "txn");
    let done: serde_json::Value = commit
        .try_clone()
        .unwrap()
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(done["Status"], "OK", "{done}");
    let again: serde_json::Value = commit.send().await.unwrap().json().await.unwrap();
    assert!(
        again["Message"]
            .as_str()
            .unwrap()
            .contains("has already committed, label is txn"),
        "{again}"
    );
    assert_eq!(x.select("SELECT count(*) FROM t").await, "2");
}

/// stream-load-and-relay.md §1.6: label_keep_max_num evicts by count, ignoring age; label_keep_max_second by age.
#[tokio::test(flavor = "multi_thread")]
async fn labels_are_evicted_by_count_by_age_and_by_order() {
    let x = Exhibit::with_table().await;
    x.sql("ADMIN SET FRONTEND CONFIG (\"label_keep_max_num\" = \"2\")")
        .await;
    assert_eq!(
        x.select("ADMIN SHOW FRONTEND CONFIG LIKE 'label_keep_max_num'")
            .await,
        "label_keep_max_num|[]|2|int|true|"
    );
    for label in ["a", "b", "c"] {
        x.load_with("t", &[("label", label)], "{\"id\":1}").await;
    }
    assert_eq!(x.state_of("a").await, "VISIBLE", "until the cleaner comes");
    let post = |path: &str| {
        x.http
            .post(format!("{}/{path}", x.standin.addresses.admin))
            .send()
    };
    post("labels/clean").await.unwrap();
    assert_eq!(
        (x.state_of("a").await.as_str(), x.state_of("b").await.as_str()),
        ("UNKNOWN", "VISIBLE")
    );
    let again = x.load_with("t", &[("label", "a")], "{\"id\":2}").await;
    assert_eq!(
        again["Status"], "Success",
        "an evicted label protects nothing: {again}"
    );
    let url = format!("{}/labels/d/c", x.standin.addresses.admin);
    assert_eq!(x.http.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(x.state_of("c").await, "UNKNOWN");
    x.put("config", json!({"label_keep_max_num": 1000, "label_keep_max_second": 0, "transaction_clean_interval_second": 1}))
        .await;
    x.until("b", "UNKNOWN").await;
}

/// correctness.md, "Verify early": a late commit after the client died.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_load_commits_after_its_client_died() {
    let x = std::sync::Arc::new(Exhibit::with_table().await);
    let fault = x.fault(json!({"kind": "hold_prepare", "count": 1})).await;
    let client = x.clone();
    let load = tokio::spawn(async move { client.load_with_result("late", "{\"id\":1,\"v\":5}").await });
    let received = || x.standin.cluster.counters.snapshot().bytes_received > 0;
    while !received() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load.abort();
    assert!(load.await.unwrap_err().is_cancelled(), "the client died");
    x.load("{\"id\":1,\"v\":6}").await;
    assert_eq!(x.state_of("late").await, "PREPARE");
    x.standin.cluster.faults.remove(fault);
    x.until("late", "VISIBLE").await;
    assert_eq!(x.select("SELECT v FROM t").await, "5");
    x.fault(json!({"kind": "hold_prepare", "delay_ms": 50})).await;
    assert_eq!(
        x.load("{\"id\":2}").await["Status"],
        "Success",
        "held for a while only"
    );
}
