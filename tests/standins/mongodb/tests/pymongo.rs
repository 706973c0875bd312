//! PyMongo, the official Python driver, runs `everyday.py` against the target.

mod common;

use std::process::Stdio;

use common::Target;

#[tokio::test(flavor = "multi_thread")]
async fn pymongo_does_its_everyday_work() {
    let python = tokio::task::spawn_blocking(|| tributary_stage::setup::python(&["pymongo==4.15.1"]));
    let python = python.await.unwrap().expect("a Python with PyMongo");
    let target = Target::start().await;
    let run = tokio::process::Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/everyday.py"))
        .arg(&target.uri)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), run)
        .await
        .expect("in time")
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("pymongo is content"),
        "{out}\n{err}"
    );
}
