//! The official loader: com.starrocks:starrocks-stream-load-sdk, its plain and its transactional flow.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::exhibit::Exhibit;

struct Sdk {
    classpath: String,
}

impl Sdk {
    /// Compiles `LoadRows.java` against the SDK.
    fn new(dir: &tempfile::TempDir) -> Self {
        let jars = tributary_stage::setup::maven_jars(&[
            "com.starrocks:starrocks-stream-load-sdk:1.0",
            "org.slf4j:slf4j-simple:1.7.36",
        ])
        .expect("the SDK's jars");
        let mut entries: Vec<PathBuf> = jars;
        entries.push(dir.path().to_owned());
        let classpath = std::env::join_paths(entries)
            .expect("paths")
            .into_string()
            .expect("UTF-8");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/LoadRows.java");
        let done = Command::new("javac")
            .args(["-cp", &classpath, "-d"])
            .arg(dir.path())
            .arg(source)
            .output();
        let done = done.expect("javac runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { classpath }
    }

    async fn load(&self, x: &Exhibit, user: [&str; 2], table: &str, mode: &str) -> Output {
        let fe = x
            .standin
            .addresses
            .fe_http
            .strip_prefix("http://")
            .expect("http")
            .to_owned();
        let mut command = tokio::process::Command::new("java");
        command.args([
            "-Xmx256m",
            "-cp",
            &self.classpath,
            "LoadRows",
            &fe,
            user[0],
            user[1],
            "d",
            table,
            "1000",
            mode,
        ]);
        command.kill_on_drop(true);
        let run = tokio::time::timeout(std::time::Duration::from_secs(180), command.output());
        run.await.expect("the SDK ends in time").expect("java runs")
    }
}

async fn check(sdk: &Sdk, mode: &str) {
    let x = Exhibit::with_table().await;
    let output = sdk.load(&x, ["root", ""], "t", mode).await;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{mode}: {stdout}\n{stderr}");
    assert!(stdout.contains("flushed 1000"), "{mode}: {stdout}\n{stderr}");
    assert_eq!(
        x.select("SELECT count(*), min(id), max(id), max(name) FROM t")
            .await,
        "1000|0|999|row 999"
    );
    let labels = x
        .select("SELECT count(*) FROM information_schema.loads WHERE LABEL LIKE 'sdk-%' AND STATE='FINISHED'")
        .await;
    assert_ne!(labels, "0", "{mode}: loaded under its own labels");
    assert!(x.standin.cluster.counters.snapshot().redirects > 0 || mode == "transaction");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_loads_plainly_and_in_transactions() {
    let dir = tempfile::tempdir().expect("a directory");
    let sdk = Sdk::new(&dir);
    check(&sdk, "plain").await;
    check(&sdk, "transaction").await;
    let x = Exhibit::with_table().await;
    let refused = sdk.load(&x, ["root", "wrong"], "t", "plain").await;
    assert!(
        !refused.status.success(),
        "bad credentials are an error to the SDK"
    );
}
