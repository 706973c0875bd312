//! The persistent mode: the program is killed -9 and started again on its folder (debezium-mongodb.md §4.6: "append-only
//! BSON log so the embedded quick-start survives restarts (tokens are timestamps → stay valid)").

mod common;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use bson::{Document, doc};
use common::PATIENCE;
use futures::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Client, Collection,
    change_stream::event::ResumeToken,
    options::{ChangeStreamPreAndPostImages, FullDocumentBeforeChangeType},
};

/// The program on a folder; killed when dropped.
struct Program {
    child: Child,
    uri: String,
}

impl Program {
    fn start(data: &Path, listen: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_standin-mongodb"))
            .args(["--listen", listen, "--exit-on-stdin-eof", "--data"])
            .arg(data)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("a ready line");
        Self {
            uri: ready["uri"].as_str().unwrap().to_owned(),
            child,
        }
    }

    fn address(&self) -> String {
        let address = self
            .uri
            .trim_start_matches("mongodb://")
            .split('/')
            .next()
            .unwrap();
        address.to_owned()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn orders(uri: &str) -> Collection<Document> {
    let client = Client::with_uri_str(uri).await.unwrap();
    client.database("t_persistent").collection("orders")
}

async fn all(orders: &Collection<Document>) -> Vec<Document> {
    orders
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

/// What a stream tells from a token on, one string for each event.
async fn told(orders: &Collection<Document>, after: ResumeToken, count: usize) -> Vec<String> {
    let stream = orders
        .watch()
        .resume_after(after)
        .full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable);
    let stream = stream.await.expect("the token is still good").take(count);
    let events = tokio::time::timeout(PATIENCE, stream.collect::<Vec<_>>());
    let events = events.await.expect("events in time");
    events
        .into_iter()
        .map(|event| {
            let e = event.unwrap();
            format!(
                "{:?} {:?} {:?} {:?} {:?}",
                e.id, e.operation_type, e.cluster_time, e.update_description, e.full_document_before_change
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_kill_9_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), "127.0.0.1:0", &[]);
    let (address, uri) = (program.address(), program.uri.clone());
    let client = Client::with_uri_str(&uri).await.unwrap();
    let images = ChangeStreamPreAndPostImages::builder().enabled(true).build();
    client
        .database("t_persistent")
        .create_collection("orders")
        .change_stream_pre_and_post_images(images)
        .await
        .unwrap();
    let orders = orders(&uri).await;
    let start = orders.watch().await.unwrap().resume_token().unwrap();
    orders
        .insert_many((0..20).map(|n| doc! { "_id": n, "list": [n, n + 1], "sub": { "a": 1 } }))
        .await
        .unwrap();
    orders
        .update_one(
            doc! { "_id": 1 },
            doc! { "$set": { "sub.a": 2 }, "$unset": { "list": "" } },
        )
        .await
        .unwrap();
    orders
        .update_one(doc! { "_id": 2 }, vec![doc! { "$set": { "list": [2] } }])
        .await
        .unwrap();
    orders
        .replace_one(doc! { "_id": 3 }, doc! { "z": 1 })
        .await
        .unwrap();
    orders.delete_one(doc! { "_id": 4 }).await.unwrap();
    orders.insert_one(doc! { "_id": 4, "again": true }).await.unwrap();
    let (documents, history) = (all(&orders).await, told(&orders, start.clone(), 25).await);
    let idle = orders.watch().await.unwrap().resume_token().unwrap();

    for round in 0..2 {
        program.kill();
        program = Program::start(dir.path(), &address, &[]);
        assert_eq!(all(&orders).await, documents, "after restart {round}");
        assert_eq!(
            told(&orders, start.clone(), 25).await,
            history,
            "after restart {round}"
        );
    }
    orders.insert_one(doc! { "_id": 100 }).await.unwrap();
    let next = told(&orders, idle, 1).await;
    assert!(next[0].contains("Insert"), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_by_itself_over_restarts_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), "127.0.0.1:0", &[]);
    let (address, uri) = (program.address(), program.uri.clone());
    let (writer, watched) = (orders(&uri).await, orders(&uri).await);
    let mut stream = watched.watch().await.unwrap();
    let reader = tokio::spawn(async move {
        let mut told = Vec::new();
        while told.len() < 300 {
            match stream.next().await.expect("no end") {
                Ok(event) => told.push(event.document_key.unwrap().get_i32("_id").unwrap()),
                // The driver resumes once for each break, and gives up when the server is not back by then.
                Err(_) => {
                    let token = stream.resume_token();
                    let mut again = watched.watch();
                    if let Some(token) = token {
                        again = again.resume_after(token);
                    }
                    if let Ok(again) = again.await {
                        stream = again;
                    }
                }
            }
        }
        told
    });
    for id in 0..300 {
        if id % 100 == 50 {
            program.kill();
            program = Program::start(dir.path(), &address, &[]);
        }
        // One that was cut off is retried by the driver; it happened once in any case.
        writer.insert_one(doc! { "_id": id }).await.unwrap();
    }
    let told = tokio::time::timeout(PATIENCE, reader)
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(told, (0..300).collect::<Vec<_>>());
    drop(program);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_was_lost_stays_lost_and_a_second_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--oplog-entries", "5"];
    let mut program = Program::start(dir.path(), "127.0.0.1:0", &small);
    let (address, uri) = (program.address(), program.uri.clone());
    let orders = orders(&uri).await;
    let start = orders.watch().await.unwrap().resume_token().unwrap();
    orders
        .insert_many((0..10).map(|n| doc! { "_id": n }))
        .await
        .unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_standin-mongodb"))
        .arg("--data")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another server uses the data folder"));
    program.kill();
    let _program = Program::start(dir.path(), &address, &small);
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 10);
    let lost = orders
        .watch()
        .resume_after(start)
        .await
        .expect_err("history is lost");
    assert!(lost.to_string().contains("ChangeStreamHistoryLost"), "{lost}");
}
