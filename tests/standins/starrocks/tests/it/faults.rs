//! Faults on demand, and consequences that need none.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::exhibit::{Exhibit, ROOT, run};

const L: (&str, &str) = ("label", "l");

async fn dropped(x: &Exhibit, body: &str) {
    let url = format!("{}/api/d/t/_stream_load", x.standin.addresses.be_http);
    let request = x
        .http
        .put(url)
        .header("authorization", ROOT)
        .header("format", "json")
        .header("label", "l");
    assert!(
        request.body(body.to_owned()).send().await.is_err(),
        "the connection closes without a reply"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_then_drop_and_the_retry_learns_of_it() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "commit_then_drop", "count": 1, "db": "d", "table": "t"}))
        .await;
    dropped(&x, "{\"id\":1}").await;
    let retry = x.load_with("t", &[L], "{\"id\":1}").await;
    assert_eq!(
        (&retry["Status"], &retry["ExistingJobStatus"]),
        (&json!("Label Already Exists"), &json!("FINISHED"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_then_fail_hides_a_commit() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "commit_then_fail", "count": 1})).await;
    assert_eq!(x.load_with("t", &[L], "{\"id\":1}").await["Status"], "Fail");
    x.until("l", "VISIBLE").await;
    assert_eq!(x.select("SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_overwrites_what_came_after() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "late_commit", "delay_ms": 300, "count": 1}))
        .await;
    dropped(&x, "{\"id\":1,\"v\":5}").await;
    assert_eq!(x.state_of("l").await, "PREPARE");
    x.load("{\"id\":1,\"v\":6}").await;
    assert_eq!(x.select("SELECT v FROM t").await, "6");
    x.until("l", "VISIBLE").await;
    assert_eq!(x.select("SELECT v FROM t").await, "5", "the zombie's load won");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_publish_obeys_the_timeout_header_and_orders_the_table() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "slow_publish", "delay_ms": 2500, "count": 1}))
        .await;
    let started = Instant::now();
    let reply = x.load_with("t", &[L, ("timeout", "2")], "{\"id\":1}").await;
    assert_eq!(reply["Status"], "Publish Timeout", "{reply}");
    assert!(
        reply["Message"]
            .as_str()
            .unwrap()
            .starts_with("Publish timeout. The data will be visible after a while, ")
    );
    assert!(
        started.elapsed() >= Duration::from_millis(1900),
        "polled until the load's deadline"
    );
    assert_eq!(x.state_of("l").await, "COMMITTED");
    assert_eq!(
        x.select("SELECT count(*) FROM t").await,
        "0",
        "committed is not visible"
    );
    // The next version of the table waits for this one.
    x.load("{\"id\":2}").await;
    assert_eq!(x.select("SELECT id FROM t ORDER BY id").await, "1;2");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_timeout_comes_at_once_and_is_unreadable_until_visible() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "publish_timeout", "delay_ms": 300, "count": 1}))
        .await;
    assert_eq!(
        x.load_with("t", &[L], "{\"id\":1}").await["Status"],
        "Publish Timeout"
    );
    assert_eq!(x.select("SELECT count(*) FROM t").await, "0");
    x.until("l", "VISIBLE").await;
    assert_eq!(x.select("SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_reads_end_with_sync() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "stale_read", "delay_ms": 600_000})).await;
    assert_eq!(x.load_with("t", &[L], "{\"id\":1}").await["Status"], "Success");
    let mut session = x.session();
    assert_eq!(
        run(&mut session, "SELECT count(*) FROM t").await.unwrap(),
        [["0"]]
    );
    assert_eq!(
        run(&mut session, "SYNC; SELECT count(*) FROM t").await.unwrap(),
        [["1"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_versions_is_a_consequence_and_a_fault() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "too_many_versions", "count": 1})).await;
    let injected = x.load("{\"id\":1}").await;
    assert!(
        injected["Message"]
            .as_str()
            .unwrap()
            .contains("because of too many versions, current/limit: 1001/1000.")
    );
    let url = format!("{}/tables/d/t/compaction", x.standin.addresses.admin);
    x.http
        .put(&url)
        .json(&json!({"rate": 0.0, "limit": 3}))
        .send()
        .await
        .unwrap();
    let mut last = json!({});
    for id in 0..4 {
        last = x.load(&format!("{{\"id\":{id}}}")).await;
    }
    assert_eq!(last["Status"], "Fail");
    assert!(
        last["Message"]
            .as_str()
            .unwrap()
            .starts_with("Failed to load data into tablet "),
        "{last}"
    );
    x.http
        .put(&url)
        .json(&json!({"rate": 100_000.0}))
        .send()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(
        x.load("{\"id\":9}").await["Status"],
        "Success",
        "compaction caught up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fe_and_be_fail_on_demand() {
    let x = Exhibit::with_table().await;
    let fe = format!("{}/api/d/t/_stream_load", x.standin.addresses.fe_http);
    let hop = || {
        x.http
            .put(&fe)
            .header("authorization", ROOT)
            .header("expect", "100-continue")
            .send()
    };
    x.fault(json!({"kind": "no_backend_alive", "count": 1})).await;
    assert!(
        hop()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("DdlException: No backend alive.")
    );
    x.fault(json!({"kind": "fe_error", "status": 503, "count": 1}))
        .await;
    assert_eq!(hop().await.unwrap().status(), 503);
    x.fault(json!({"kind": "auth_failure", "count": 1})).await;
    assert_eq!(hop().await.unwrap().status(), 401);
    assert_eq!(hop().await.unwrap().status(), 307);
    x.fault(json!({"kind": "running_txns", "count": 1})).await;
    assert_eq!(
        x.load("{\"id\":1}").await["Message"],
        "current running txns on db d is 1000, larger than limit 1000"
    );
    x.fault(json!({"kind": "be_error", "status": 500, "count": 1}))
        .await;
    let be = format!("{}/api/d/t/_stream_load", x.standin.addresses.be_http);
    assert_eq!(
        x.http
            .put(be)
            .header("authorization", ROOT)
            .send()
            .await
            .unwrap()
            .status(),
        500
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_count() {
    let x = Exhibit::with_table().await;
    x.load("{\"id\":1}{\"id\":2}").await;
    x.load_with("nope", &[], "").await;
    let url = format!("{}/counters", x.standin.addresses.admin);
    let counters: serde_json::Value = x.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(counters["loads"], json!({"Fail": 1, "Success": 1}));
    assert_eq!(counters["rows_loaded"], 2);
}

/// stream-load-and-relay.md §1.2: bad rows come with an ErrorURL whose lines are "Error: … Row: …".
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_rejected_by_order_with_their_line_in_the_error_log() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "reject_rows", "contains": "poison"}))
        .await;
    let body = "{\"id\":1,\"name\":\"good\"}{\"id\":2,\"name\":\"poison\"}";
    let reply = x.load_with("t", &[L], body).await;
    assert_eq!(
        (&reply["Status"], &reply["NumberFilteredRows"]),
        (&json!("Fail"), &json!(1))
    );
    assert_eq!(reply["Message"], "too many filtered rows");
    let log = x
        .http
        .get(reply["ErrorURL"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(log.contains("Row: {\"id\":2,\"name\":\"poison\"}"), "{log}");
    assert_eq!(x.load("{\"id\":1,\"name\":\"good\"}").await["Status"], "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_state_can_be_out_of_reach() {
    let x = Exhibit::with_table().await;
    x.fault(json!({"kind": "state_error", "status": 500, "count": 1}))
        .await;
    let url = format!("{}/api/d/get_load_state?label=l", x.standin.addresses.fe_http);
    let get = || x.http.get(&url).header("authorization", ROOT).send();
    assert_eq!(get().await.unwrap().status(), 500);
    assert_eq!(get().await.unwrap().status(), 200);
}
