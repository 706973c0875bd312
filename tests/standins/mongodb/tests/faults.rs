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
