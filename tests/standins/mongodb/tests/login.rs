//! SCRAM-SHA-256 as the three drivers speak it: Rust, Python, and the Java one that Debezium carries (debezium-mongodb.md
//! §4.2 `auth`, §3.3 `error 13 (Unauthorized)|error 18|Exception authenticating`).

mod common;

use std::{path::PathBuf, process::Stdio, time::Duration};

use bson::{Document, doc};
use common::Target;
use mongodb::{Client, error::ErrorKind};
use standin_mongodb::Config;

/// As names and passwords are allowed to be: percent-encoded where they stand in a URI.
const USER: (&str, &str) = ("acme", "p@ss:wörd/=,");
const ENCODED: &str = "acme:p%40ss%3Aw%C3%B6rd%2F%3D%2C";

async fn guarded() -> Option<Target> {
    let target = Target::configured(Config {
        users: vec![(USER.0.to_owned(), USER.1.to_owned())],
        ..Config::default()
    })
    .await?;
    let orders = client(&target, ENCODED)
        .await
        .database("t_login")
        .collection::<Document>("orders");
    orders
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("the right password");
    Some(target)
}

fn uri(target: &Target, credentials: &str) -> String {
    target
        .uri
        .replace("mongodb://", &format!("mongodb://{credentials}@"))
}

async fn client(target: &Target, credentials: &str) -> Client {
    Client::with_uri_str(uri(target, credentials)).await.unwrap()
}

async fn refusal(client: &Client) -> ErrorKind {
    let orders = client.database("t_login").collection::<Document>("orders");
    *orders.find_one(doc! {}).await.expect_err("refused").kind
}

#[tokio::test]
async fn the_rust_driver_logs_in_and_is_told_why_not() {
    let Some(target) = guarded().await else { return };
    for wrong in ["acme:wrong", "nobody:wrong", "acme:"] {
        let ErrorKind::Authentication { message, .. } = refusal(&client(&target, wrong).await).await else {
            panic!("{wrong}: no error of authentication")
        };
        assert!(message.contains("SCRAM"), "{message}");
    }
    let stranger = Client::with_uri_str(&target.uri).await.unwrap();
    stranger
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .await
        .expect("strangers may ping");
    let ErrorKind::Command(error) = refusal(&stranger).await else {
        panic!("no command error")
    };
    assert_eq!((error.code, error.code_name.as_str()), (13, "Unauthorized"));
}

#[tokio::test]
async fn users_come_and_go_while_clients_are_connected() {
    let Some(target) = guarded().await else { return };
    target
        .admin("POST", "/users", r#"{"user":"globex","password":"one"}"#)
        .await;
    let globex = client(&target, "globex:one").await;
    let orders = globex.database("t_login").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    let status = globex
        .database("admin")
        .run_command(doc! { "connectionStatus": 1 })
        .await
        .unwrap();
    let users = status
        .get_document("authInfo")
        .unwrap()
        .get_array("authenticatedUsers")
        .unwrap();
    assert_eq!(users, &[doc! { "user": "globex", "db": "admin" }.into()]);
    target.admin("DELETE", "/users/admin/globex", "").await;
    assert!(
        matches!(refusal(&globex).await, ErrorKind::Command(error) if error.code == 13),
        "an open connection loses its rights"
    );
}

async fn output(mut command: tokio::process::Command) -> String {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let run = tokio::time::timeout(Duration::from_secs(120), command.output());
    let output = run.await.expect("in time").expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{out}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn pymongo_logs_in_and_is_told_why_not() {
    const PROGRAM: &str = r#"
import sys, pymongo
for uri in sys.argv[1:]:
    try:
        print(pymongo.MongoClient(uri).t_login.orders.find_one({"_id": 1}))
    except pymongo.errors.OperationFailure as error:
        print(error.code, error.details["codeName"], error.details["errmsg"])
"#;
    let python = tokio::task::spawn_blocking(|| tributary_stage::setup::python(&["pymongo==4.15.1"]));
    let python = python.await.unwrap().expect("a Python with PyMongo");
    let Some(target) = guarded().await else { return };
    let mut command = tokio::process::Command::new(python);
    command
        .args(["-c", PROGRAM])
        .args([uri(&target, ENCODED), uri(&target, "acme:wrong")]);
    assert_eq!(
        output(command).await,
        "{'_id': 1}\n18 AuthenticationFailed Authentication failed.\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_driver_of_debezium_logs_in_and_is_told_why_not() {
    let jars = tokio::task::spawn_blocking(|| {
        tributary_stage::setup::maven_jars(&["org.mongodb:mongodb-driver-sync:5.6.2"])
    });
    let jars: Vec<PathBuf> = jars.await.unwrap().expect("the driver's jars");
    let Some(target) = guarded().await else { return };
    let mut command = tokio::process::Command::new("java");
    command
        .arg("-Xmx128m")
        .arg("-cp")
        .arg(std::env::join_paths(jars).unwrap())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/Login.java"))
        .args([
            uri(&target, ENCODED),
            uri(&target, "acme:wrong"),
            uri(&target, "nobody:x"),
            target.uri.clone(),
        ]);
    let out = output(command).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], r#"{"_id": 1}"#);
    for line in &lines[1..3] {
        assert!(
            line.starts_with("Exception authenticating") && line.ends_with("18 AuthenticationFailed"),
            "{out}"
        );
    }
    assert_eq!(lines[3], "refused 13 Unauthorized");
}
