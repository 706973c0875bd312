//! The official SQLAlchemy dialect (PyPI `starrocks`) reflects what the stand-in holds.

use std::time::Duration;

use crate::exhibit::Exhibit;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_dialect_reflects_tables_and_views() {
    let x = Exhibit::new().await;
    let requirements = ["PyMySQL==1.2.4", "SQLAlchemy==2.1.9", "starrocks==1.3.4"];
    let python = tokio::task::spawn_blocking(move || tributary_stage::setup::python(&requirements))
        .await
        .expect("joins")
        .expect("a Python environment with the dialect");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/reflect.py");
    let mut command = tokio::process::Command::new(python);
    command
        .args([script, &x.standin.addresses.mysql])
        .kill_on_drop(true);
    let run = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let output = run.expect("the reflection ends in time").expect("python runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("reflected"), "{stdout}\n{stderr}");
}
