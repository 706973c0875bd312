//! FEs and BEs that die and come back.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::exhibit::{Exhibit, ROOT};

async fn cluster() -> Exhibit {
    let x = Exhibit::with(|config| {
        config.fe_count = 2;
        config.be_count = 2;
    })
    .await;
    x.sql("CREATE DATABASE d").await;
    x.sql("CREATE TABLE t (id BIGINT, v BIGINT) PRIMARY KEY(id)")
        .await;
    x
}

/// The first hop of a load at FE `fe`: the Location, or the body of a refusal.
async fn hop(x: &Exhibit, fe: usize) -> Result<String, String> {
    let url = format!("{}/api/d/t/_stream_load", x.standin.addresses.fe_http_all[fe]);
    let request = x
        .http
        .put(url)
        .header("authorization", ROOT)
        .header("expect", "100-continue");
    let reply = request.send().await.map_err(|e| format!("{e:?}"))?;
    match reply.headers().get("location") {
        Some(location) => Ok(location.to_str().unwrap_or_default().to_owned()),
        None => Err(reply.text().await.unwrap_or_default()),
    }
}

/// stream-load-and-relay.md §1.1: node choice is among alive backends; none alive is a FAILED 200.
#[tokio::test(flavor = "multi_thread")]
async fn fe_chooses_among_backends_it_believes_alive() {
    let x = cluster().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        seen.insert(hop(&x, 0).await.unwrap());
    }
    assert_eq!(seen.len(), 2, "both backends take loads");
    x.put("be/0", json!({"up": false})).await;
    for _ in 0..4 {
        assert!(
            hop(&x, 0)
                .await
                .unwrap()
                .starts_with(&x.standin.addresses.be_http_all[1])
        );
    }
    assert_eq!(x.select("SHOW BACKENDS").await.matches("|false|").count(), 1);
    x.put("be/1", json!({"up": false})).await;
    assert!(
        hop(&x, 0)
            .await
            .unwrap_err()
            .contains("DdlException: No backend alive.")
    );
    x.put("be/1", json!({"up": true})).await;
    assert!(hop(&x, 0).await.is_ok());
}

/// stream-load-and-relay.md §2.3 (10): a connect error at the BE named by FE is to be retried.
#[tokio::test(flavor = "multi_thread")]
async fn fe_redirects_to_a_dead_backend_until_the_heartbeat_notices_and_its_loads_stay_open_until_then() {
    let x = Exhibit::with_table().await;
    let fault = x.fault(json!({"kind": "hold_prepare"})).await;
    let held = x.load_with_result("held", "{\"id\":1}");
    let dies = async {
        x.until("held", "PREPARE").await;
        x.put("be/0", json!({"up": false, "heartbeat": true})).await;
        x.standin.cluster.faults.remove(fault);
        let location = hop(&x, 0).await.unwrap();
        assert!(
            x.http.put(location).send().await.unwrap_err().is_connect(),
            "nobody listens there"
        );
    };
    let (reply, ()) = tokio::join!(held, dies);
    assert!(reply.is_err(), "the connection broke");
    assert_eq!(x.state_of("held").await, "PREPARE", "FE does not know yet");
    x.put("be/0", json!({"up": false})).await;
    assert_eq!(x.state_of("held").await, "ABORTED");
    x.put("be/0", json!({"up": true})).await;
    assert_eq!(
        x.load_with("t", &[("label", "held")], "{\"id\":2}").await["Status"],
        "Success"
    );
    assert_eq!(
        x.select("SELECT id FROM t").await,
        "2",
        "the dead BE's load was lost"
    );
}

/// stream-load-and-relay.md §1.1: any FE redirects a load; get_load_state and transactions are the leader's.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_redirects_loads_to_a_backend_and_states_to_the_leader() {
    let x = cluster().await;
    let [leader, follower] = [0, 1].map(|i| x.standin.addresses.fe_http_all[i].clone());
    assert!(hop(&x, 1).await.unwrap().contains("/api/d/t/_stream_load"));
    let get = |fe: &str| {
        x.http
            .get(format!("{fe}/api/d/get_load_state?label=l"))
            .header("authorization", ROOT)
            .send()
    };
    let reply = get(&follower).await.unwrap();
    assert_eq!(reply.status(), 307);
    assert_eq!(
        reply.headers()["location"].to_str().unwrap(),
        format!("{leader}/api/d/get_load_state?label=l")
    );
    for path in ["transaction/begin", "d/l/_cancel"] {
        let request = x
            .http
            .post(format!("{follower}/api/{path}"))
            .header("authorization", ROOT);
        assert_eq!(request.send().await.unwrap().status(), 307, "{path}");
    }
    x.put("fe/0", json!({"up": false})).await;
    assert!(get(&leader).await.unwrap_err().is_connect());
    let reply: Json = get(&follower).await.unwrap().json().await.unwrap();
    assert_eq!(reply["state"], "UNKNOWN", "the follower was elected");
    assert!(x.select("SHOW FRONTENDS").await.contains("FOLLOWER|true|false"));
    x.put("fe/0", json!({"up": true})).await;
    assert_eq!(get(&leader).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fe_has_a_mysql_door_that_closes_with_it() {
    let x = cluster().await;
    let doors = x.standin.addresses.mysql_all.clone();
    assert_eq!(doors.len(), 2);
    let connect = |i: usize| tokio::net::TcpStream::connect(doors[i].clone());
    let mut open = connect(1).await.unwrap();
    x.put("fe/1", json!({"up": false})).await;
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut open, &mut bytes);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert!(ended.is_ok(), "a dead process closes its connections");
    assert!(connect(1).await.is_err());
    assert!(connect(0).await.is_ok());
}
