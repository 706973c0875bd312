//! The transaction interface through both doors (stream-load-and-relay.md §1.8).

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::exhibit::{Exhibit, ROOT};

/// One request, following redirects by hand as a client must.
async fn call(x: &Exhibit, operation: &str, label: &str, headers: &[(&str, &str)], body: &str) -> Json {
    let mut url = format!("{}/api/transaction/{operation}", x.standin.addresses.fe_http);
    loop {
        let mut request = x
            .http
            .post(&url)
            .header("authorization", ROOT)
            .header("format", "json");
        for (name, value) in [("db", "d"), ("table", "t"), ("label", label)]
            .iter()
            .chain(headers)
        {
            request = request.header(*name, *value);
        }
        let reply = request.body(body.to_owned()).send().await.expect("an answer");
        match reply.headers().get("location") {
            Some(location) => url = location.to_str().expect("a URL").to_owned(),
            None => return reply.json().await.expect("JSON"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_is_committed_or_rolled_back_by_fe_and_a_second_commit_is_ok() {
    let x = Exhibit::with_table().await;
    for (label, ending) in [("a", "commit"), ("b", "rollback")] {
        assert_eq!(call(&x, "begin", label, &[], "").await["Status"], "OK");
        let again = call(&x, "begin", label, &[], "").await;
        assert_eq!(
            (&again["Status"], &again["ExistingJobStatus"]),
            (&json!("LABEL_ALREADY_EXISTS"), &json!("RUNNING"))
        );
        assert_eq!(call(&x, "load", label, &[], "{\"id\":1}").await["LoadBytes"], 8);
        assert_eq!(call(&x, "prepare", label, &[], "").await["NumberLoadedRows"], 1);
        assert_eq!(x.state_of(label).await, "PREPARED");
        assert_eq!(call(&x, ending, label, &[], "").await["Status"], "OK");
    }
    let again = call(&x, "commit", "a", &[], "").await;
    assert!(
        again["Message"]
            .as_str()
            .unwrap()
            .contains("has already committed, label is a"),
        "{again}"
    );
    assert_eq!(x.state_of("b").await, "ABORTED");
    assert_eq!(x.select("SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_labels_empty_labels_wrong_databases_and_no_data() {
    let x = Exhibit::with_table().await;
    let unknown = call(&x, "commit", "nope", &[], "").await;
    assert!(
        unknown["Message"]
            .as_str()
            .unwrap()
            .contains("No transaction found by label nope"),
        "{unknown}"
    );
    assert!(
        call(&x, "begin", "", &[], "").await["Message"]
            .as_str()
            .unwrap()
            .contains("Empty label.")
    );
    call(&x, "begin", "empty", &[], "").await;
    let be = format!("{}/api/transaction/load", x.standin.addresses.be_http);
    let other = x
        .http
        .post(be)
        .header("authorization", ROOT)
        .header("db", "other")
        .header("label", "empty");
    let other: Json = other.send().await.unwrap().json().await.unwrap();
    assert_eq!(other["Status"], "INVALID_ARGUMENT", "{other}");
    let none = call(&x, "prepare", "empty", &[], "").await;
    assert_eq!(none["Status"], "INTERNAL_ERROR");
    assert!(
        none["Message"]
            .as_str()
            .unwrap()
            .contains("hasn't send any data yet"),
        "{none}"
    );
    assert_eq!(
        x.state_of("empty").await,
        "ABORTED",
        "an error rolls the transaction back by itself"
    );
    assert_eq!(
        call(&x, "load", "empty", &[], "{\"id\":1}").await["Status"],
        "ABORTED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_fail_the_end_of_the_data_with_an_error_url() {
    let x = Exhibit::with_table().await;
    let strict = [("strict_mode", "true"), ("max_filter_ratio", "0.5")];
    call(&x, "begin", "half", &[], "").await;
    call(&x, "load", "half", &strict, "{\"id\":1}{\"id\":2,\"v\":\"x\"}").await;
    let prepared = call(&x, "prepare", "half", &[], "").await;
    assert_eq!(
        (&prepared["Status"], &prepared["NumberFilteredRows"]),
        (&json!("OK"), &json!(1))
    );
    let url = prepared["ErrorURL"].as_str().expect("ErrorURL");
    let log = x.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(log.starts_with("Error: ") && log.contains("Row: "), "{log}");
    call(&x, "begin", "bad", &[], "").await;
    call(&x, "load", "bad", &strict[..1], "{\"id\":2,\"v\":\"x\"}").await;
    let bad = call(&x, "prepare", "bad", &[], "").await;
    assert_eq!(bad["Message"], "too many filtered rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_prepare_idleness_and_prepared() {
    let x = Exhibit::with_table().await;
    call(&x, "begin", "slow", &[("timeout", "1")], "").await;
    call(&x, "begin", "idle", &[("idle_transaction_timeout", "1")], "").await;
    call(
        &x,
        "begin",
        "forgotten",
        &[("prepared_timeout", "1"), ("timeout", "1")],
        "",
    )
    .await;
    call(&x, "load", "forgotten", &[], "{\"id\":1}").await;
    call(&x, "prepare", "forgotten", &[], "").await;
    for label in ["slow", "idle", "forgotten"] {
        x.until(label, "ABORTED").await;
    }
    call(&x, "begin", "kept", &[("timeout", "1")], "").await;
    call(&x, "load", "kept", &[], "{\"id\":1}").await;
    call(&x, "prepare", "kept", &[], "").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(x.state_of("kept").await, "PREPARED", "timeout ends with PREPARED");
    // What is PREPARED is not cancelled by label.
    let url = format!("{}/api/d/kept/_cancel", x.standin.addresses.fe_http);
    let reply: Json = x
        .http
        .post(url)
        .header("authorization", ROOT)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["msg"], "running transaction not found, label=kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_survives_its_backend_and_an_open_one_does_not() {
    let x = Exhibit::with_table().await;
    for label in ["open", "ready"] {
        call(&x, "begin", label, &[], "").await;
        call(&x, "load", label, &[], "{\"id\":1}").await;
    }
    call(&x, "prepare", "ready", &[], "").await;
    x.put("be/0", json!({"up": false})).await;
    assert_eq!(
        (
            x.state_of("open").await.as_str(),
            x.state_of("ready").await.as_str()
        ),
        ("ABORTED", "PREPARED")
    );
    assert_eq!(call(&x, "commit", "ready", &[], "").await["Status"], "OK");
    assert_eq!(x.select("SELECT count(*) FROM t").await, "1");
}
