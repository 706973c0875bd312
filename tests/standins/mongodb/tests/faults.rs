//! Faults on demand, as the Rust driver lives through them.

mod common;

use bson::{Document, doc};
use common::{PATIENCE, Target};
use futures::StreamExt as _;
use mongodb::{Client, Collection, error::ErrorKind};
use standin_mongodb::Window;

async fn orders(target: &Target) -> Collection<Document> {
    Client::with_uri_str(&target.uri)
        .await
        .unwrap()
        .database("t_faults")
        .collection("orders")
}

/// Inserts `count` documents while a stream watches, ordering a fault in the middle; returns the ids the stream told.
async fn watched_through(target: &Target, method: &str, path: &str, body: &str) -> Vec<i32> {
    const COUNT: i32 = 60;
    let writer = orders(target).await;
    let watcher = orders(target).await;
    let mut stream = watcher.watch().await.unwrap();
    let reader = tokio::spawn(async move {
        let mut told = Vec::new();
        while told.len() < usize::try_from(COUNT).unwrap() {
            let event = stream
                .next()
                .await
                .expect("no end")
                .expect("the driver resumes by itself");
            told.push(event.document_key.unwrap().get_i32("_id").unwrap());
        }
        told
    });
    for id in 0..COUNT {
        writer.insert_one(doc! { "_id": id }).await.unwrap();
        if id == COUNT / 2 {
            target.admin(method, path, body).await;
        }
    }
    tokio::time::timeout(PATIENCE, reader)
        .await
        .expect("all events in time")
        .unwrap()
}

#[tokio::test]
async fn a_stream_loses_nothing_when_its_connection_is_cut() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let told = watched_through(
        &target,
        "POST",
        "/connections/cut",
        r#"{"scope":"changeStreams"}"#,
    )
    .await;
    assert_eq!(told, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_loses_nothing_when_its_cursor_is_killed() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let told = watched_through(&target, "POST", "/cursors/kill", r#"{"scope":"changeStreams"}"#).await;
    assert_eq!(told, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_write_cut_off_after_it_took_effect_is_retried_and_happens_once() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let orders = orders(&target).await;
    orders.insert_one(doc! { "_id": 1, "n": 0 }).await.unwrap();
    for when in ["beforeExecution", "afterExecution"] {
        let rule = format!(r#"{{"command":"update","when":"{when}"}}"#);
        target.admin("POST", "/faults/drop", &rule).await;
        orders
            .update_one(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } })
            .await
            .unwrap();
    }
    assert_eq!(
        orders.find_one(doc! {}).await.unwrap(),
        Some(doc! { "_id": 1, "n": 2 })
    );
}

#[tokio::test]
async fn an_injected_error_has_the_code_it_was_given_once() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let orders = orders(&target).await;
    target
        .admin(
            "POST",
            "/faults/error",
            r#"{"command":"count","code":13,"message":"not allowed"}"#,
        )
        .await;
    let error = orders.estimated_document_count().await.unwrap_err();
    let ErrorKind::Command(command) = &*error.kind else {
        panic!("{error}")
    };
    assert_eq!((command.code, command.code_name.as_str()), (13, "Unauthorized"));
    assert_eq!(orders.estimated_document_count().await.unwrap(), 0);
}

#[tokio::test]
async fn lost_history_ends_a_resume_with_286() {
    let Some(target) = Target::with_faults(Window {
        entries: 10,
        ..Window::default()
    })
    .await
    else {
        return;
    };
    let orders = orders(&target).await;
    let token = orders.watch().await.unwrap().resume_token().unwrap();
    orders
        .insert_many((0..11).map(|n| doc! { "_id": n }))
        .await
        .unwrap();
    for order in [None, Some("/oplog/truncate")] {
        if let Some(path) = order {
            target.admin("POST", path, "").await;
        }
        let error = orders
            .watch()
            .resume_after(token.clone())
            .await
            .expect_err("history is lost");
        let ErrorKind::Command(command) = &*error.kind else {
            panic!("{error}")
        };
        assert_eq!(command.code_name, "ChangeStreamHistoryLost");
        assert!(error.contains_label("NonResumableChangeStreamError"));
    }
}

#[tokio::test]
async fn latency_and_outages_pass_when_they_are_cleared() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let orders = orders(&target).await;
    target
        .admin(
            "POST",
            "/faults/latency",
            r#"{"command":"insert","millis":300,"times":1}"#,
        )
        .await;
    let began = std::time::Instant::now();
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    assert!(began.elapsed().as_millis() >= 300);
    let cut = target.admin("POST", "/faults/outage", r#"{"refuse":true}"#).await;
    assert!(cut.contains("cut"), "{cut}");
    target.admin("DELETE", "/faults", "").await;
    orders.insert_one(doc! { "_id": 2 }).await.unwrap();
    let status = target.admin("GET", "/status", "").await;
    assert!(status.contains(r#""t_faults.orders":2"#), "{status}");
}

#[tokio::test]
async fn a_step_down_is_ridden_out_by_retried_writes_and_resumed_streams() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let told = watched_through(&target, "POST", "/faults/stepdown", r#"{"seconds":1.5}"#).await;
    assert_eq!(told, (0..60).collect::<Vec<_>>());
}

/// debezium-mongodb.md §4.4: 10107 NotWritablePrimary among the codes to inject, "resumable by the driver: NotPrimary errors".
#[tokio::test]
async fn a_secondary_says_so_and_reads_only_for_who_wants_it() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let plain = format!("{}&retryWrites=false&retryReads=false", target.uri);
    let client = Client::with_uri_str(&plain).await.unwrap();
    let db = client.database("t_faults");
    db.collection::<Document>("orders")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    let status = target.admin("GET", "/status", "").await;
    assert!(status.contains(r#""primary":true"#), "{status}");
    // Connections stay, so that the client does not know yet.
    target
        .admin("POST", "/faults/stepdown", r#"{"seconds":600,"drop":false}"#)
        .await;
    let refused = db
        .run_command(doc! { "insert": "orders", "documents": [{ "_id": 2 }] })
        .await
        .unwrap_err();
    let ErrorKind::Command(error) = &*refused.kind else {
        panic!("{refused}")
    };
    assert_eq!(
        (error.code, error.code_name.as_str()),
        (10107, "NotWritablePrimary")
    );
    let hello = db
        .run_command(doc! { "hello": 1 })
        .selection_criteria(any_member());
    let hello = hello.await.unwrap();
    assert!(!hello.get_bool("isWritablePrimary").unwrap() && hello.get_bool("secondary").unwrap());
    let read = db
        .run_command(doc! { "find": "orders" })
        .selection_criteria(any_member());
    assert!(read.await.is_ok(), "reads from secondaries go on");
    target.admin("DELETE", "/faults", "").await;
    let orders = orders(&target).await;
    orders.insert_one(doc! { "_id": 3 }).await.expect("primary again");
}

fn any_member() -> mongodb::options::SelectionCriteria {
    use mongodb::options::{ReadPreference, SelectionCriteria};
    SelectionCriteria::ReadPreference(ReadPreference::Nearest { options: None })
}

/// debezium-mongodb.md §3 row 2 and §4.4: 10334 BSONObjectTooLarge at every attempt, until the event is gone or small.
#[tokio::test]
async fn an_oversized_event_fails_its_stream_at_every_attempt() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let images = mongodb::options::ChangeStreamPreAndPostImages::builder()
        .enabled(true)
        .build();
    let client = Client::with_uri_str(&target.uri).await.unwrap();
    let db = client.database("t_faults");
    let created = db
        .create_collection("orders")
        .change_stream_pre_and_post_images(images);
    created.await.unwrap();
    let orders = orders(&target).await;
    let token = orders.watch().await.unwrap().resume_token().unwrap();
    orders
        .insert_one(doc! { "_id": 1, "s": "x".repeat(9 << 20) })
        .await
        .unwrap();
    orders
        .replace_one(doc! { "_id": 1 }, doc! { "s": "y".repeat(9 << 20) })
        .await
        .unwrap();
    for _ in 0..2 {
        let stream = orders
            .watch()
            .resume_after(token.clone())
            .full_document_before_change(mongodb::options::FullDocumentBeforeChangeType::WhenAvailable);
        let mut stream = stream.await.unwrap();
        let first = stream.next().await.unwrap();
        assert!(first.is_ok(), "the insert before it is small enough");
        let error = stream.next().await.unwrap().expect_err("18 MB in one event");
        let ErrorKind::Command(command) = &*error.kind else {
            panic!("{error}")
        };
        assert_eq!(
            (command.code, command.code_name.as_str()),
            (10334, "BSONObjectTooLarge")
        );
    }
    let mut stream = orders.watch().resume_after(token.clone()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stream
        .next()
        .await
        .unwrap()
        .expect("without the image it is small enough");
}

#[tokio::test]
async fn events_are_made_oversized_on_demand() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let orders = orders(&target).await;
    let token = orders.watch().await.unwrap().resume_token().unwrap();
    orders
        .insert_one(doc! { "_id": 1, "s": "x".repeat(5000) })
        .await
        .unwrap();
    target
        .admin("POST", "/faults/oversized", r#"{"bytes":4000}"#)
        .await;
    let refused = orders
        .watch()
        .resume_after(token.clone())
        .await
        .expect_err("too large");
    assert!(refused.to_string().contains("BSONObjectTooLarge"), "{refused}");
    target.admin("DELETE", "/faults", "").await;
    let mut stream = orders.watch().resume_after(token).await.unwrap();
    stream.next().await.unwrap().expect("small enough again");
}

/// debezium-mongodb.md §3 row 1: "getMore → killCursors → aggregate fails 286".
#[tokio::test]
async fn a_running_stream_that_fell_behind_is_told_so() {
    let Some(target) = Target::with_faults(Window::default()).await else {
        return;
    };
    let orders = orders(&target).await;
    let mut stream = orders.watch().await.unwrap();
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    stream.next().await.unwrap().unwrap();
    target
        .admin("POST", "/oplog/truncate", r#"{"readers":true}"#)
        .await;
    let error = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("in time")
        .unwrap()
        .expect_err("history is lost");
    assert!(error.to_string().contains("ChangeStreamHistoryLost"), "{error}");
}
