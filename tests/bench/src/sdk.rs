//! The Java Stream Load SDK, fed by a plain consumer: what somebody would write in an afternoon.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use tributary_stage::setup::maven_jars;

use crate::discard::Endpoint;
use crate::measure::{Measured, own_account};

pub(crate) struct Sdk {
    classpath: String,
    _classes: tempfile::TempDir,
}

impl Sdk {
    pub(crate) fn compile() -> anyhow::Result<Self> {
        let classes = tempfile::tempdir()?;
        let mut entries: Vec<PathBuf> = maven_jars(&[
            "com.starrocks:starrocks-stream-load-sdk:1.0",
            "org.apache.kafka:kafka-clients:4.3.1",
            "com.fasterxml.jackson.core:jackson-databind:2.21.2",
            "org.slf4j:slf4j-nop:1.7.36",
        ])?;
        entries.push(classes.path().to_owned());
        let classpath = std::env::join_paths(entries)?
            .into_string()
            .map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
        let done = Command::new("javac")
            .args(["-cp", &classpath, "-d"])
            .arg(classes.path())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/java/ConsumeAndLoad.java"))
            .output()
            .context("cannot run javac")?;
        if !done.status.success() {
            bail!("javac: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(Self {
            classpath,
            _classes: classes,
        })
    }

    pub(crate) fn catch_up(
        &self,
        endpoint: &Endpoint,
        kafka: &str,
        topic: &str,
        events: u64,
    ) -> anyhow::Result<Measured> {
        endpoint.forget();
        let address = endpoint.address.trim_start_matches("http://");
        let measured = own_account(
            Command::new("java")
                .args(["-Xmx512m", "-cp", &self.classpath, "ConsumeAndLoad"])
                .args([address, kafka, topic, &events.to_string()]),
        )?;
        if endpoint.rows() != events {
            bail!("the SDK sent {} of {events} rows", endpoint.rows());
        }
        Ok(measured)
    }
}
