//! A stage serves, two live side by side, and each ends with its holder, also when the holder is killed.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tributary_stage::{Options, Parts, Stage, StageInfo};

#[test]
fn the_api_server_serves_while_the_stage_is_held() -> Result<()> {
    let stage = Stage::up(Parts::ApiServer, Options::default())?;
    let version = kubectl(stage.info(), &["version"])?;
    ensure!(version.contains("Server Version: v1."), "{version}");
    kubectl(stage.info(), &["create", "namespace", "held"])?;
    let names = kubectl(stage.info(), &["get", "namespaces", "-o", "name"])?;
    ensure!(
        names.contains("namespace/held") && names.contains("namespace/kube-system"),
        "{names}"
    );
    let info = stage.info().clone();
    ensure!(info.state_dir.join("stage.json").is_file() && info.logs.join("kube-apiserver.log").is_file());
    ensure!(!processes_of(&info.state_dir)?.is_empty());

    drop(stage);
    ensure!(
        processes_of(&info.state_dir)?.is_empty(),
        "a dropped stage left processes"
    );
    ensure!(
        !info.state_dir.exists() && info.logs.exists(),
        "only its logs outlive a stage"
    );
    Ok(())
}

#[test]
fn nothing_survives_the_kill_of_the_command_that_holds_a_stage() -> Result<()> {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_tributary-stage"))
        .args(["up", "--parts", "api-server"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let info = printed_info(&mut holder)?;
    ensure!(!processes_of(&info.state_dir)?.is_empty());

    holder.kill()?;
    holder.wait()?;
    let begun = Instant::now();
    while !processes_of(&info.state_dir)?.is_empty() {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "still there: {:?}",
            processes_of(&info.state_dir)?
        );
        sleep(Duration::from_millis(20));
    }
    let cleaned = Command::new(env!("CARGO_BIN_EXE_tributary-stage"))
        .arg("clean")
        .status()?;
    ensure!(
        cleaned.success() && !info.state_dir.exists(),
        "the folder is left: {}",
        info.state_dir.display()
    );
    Ok(())
}

/// The JSON object that the command prints on stdout once the stage is up.
fn printed_info(holder: &mut Child) -> Result<StageInfo> {
    let mut stdout = holder.stdout.take().context("it was asked for")?;
    let (mut text, mut byte) = (Vec::new(), [0]);
    while stdout.read(&mut byte)? == 1 {
        text.push(byte[0]);
        if text.ends_with(b"\n}\n") {
            break;
        }
    }
    serde_json::from_slice(&text).with_context(|| format!("it printed {:?}", String::from_utf8_lossy(&text)))
}

fn kubectl(info: &StageInfo, args: &[&str]) -> Result<String> {
    let kubernetes = info.kubernetes.as_ref().context("an API server was asked for")?;
    let out = Command::new(info.bin.join("kubectl"))
        .arg("--kubeconfig")
        .arg(&kubernetes.kubeconfig)
        .args(args)
        .output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}

/// Command lines of the processes that name the stage's folder; every server of it does.
fn processes_of(state_dir: &Path) -> Result<Vec<String>> {
    let marker = state_dir.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(marker.as_ref()) {
            found.push(line);
        }
    }
    Ok(found)
}
