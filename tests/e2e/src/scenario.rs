//! A raised stage with everything a step needs, and the steps that test and demo share.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tributary_stage::images::{ProductImages, product};
use tributary_stage::{Options, Parts, Stage, StageInfo};

use crate::chaos;
use crate::http;
use crate::kubectl::{Condition, Kubectl, Object};
use crate::manifests;
use crate::programs::{Programs, Verdict};
use crate::sql::Sql;
use crate::wait::{Look, until};

/// A pipeline's first row can wait for a connector's start, a snapshot and a relay's roll-out on a loaded machine.
const FLOWING: Duration = Duration::from_secs(240);

/// The stage and the tools to act on it. Dropping it ends the stage.
#[derive(Debug)]
pub struct Scenario {
    stage: Stage,
    /// The command line tool, of the same build as the images.
    pub kubectl_tributary: PathBuf,
    pub kubectl: Kubectl,
    pub sql: Sql,
    pub programs: Programs,
}

impl Scenario {
    /// Builds the images and raises the whole stage.
    pub fn raise() -> Result<Self> {
        let images = images()?;
        let options = Options {
            images: vec![images.operator, images.relay],
        };
        let stage = Stage::up(Parts::All, options)?;
        Ok(Self {
            kubectl: Kubectl::new(stage.info())?,
            sql: Sql::new(stage.info())?,
            programs: Programs::new(stage.info())?,
            kubectl_tributary: images.kubectl_tributary,
            stage,
        })
    }

    pub fn info(&self) -> &StageInfo {
        self.stage.info()
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Where the sources' MongoDB is.
    pub fn mongodb_uri(&self) -> Result<&str> {
        let mongodb = self
            .info()
            .mongodb
            .as_ref()
            .context("this stage has no MongoDB")?;
        Ok(&mongodb.uri)
    }

    /// Waits until a pipeline is Ready and says how long that took.
    pub fn await_flowing(&self, tenant: &str) -> Result<String> {
        let begun = Instant::now();
        let object = pipeline(tenant);
        let ready = self
            .kubectl
            .await_condition(&object, "Ready", "True", &["Flowing"], FLOWING)?;
        Ok(format!(
            "{} after {:.1}s: {}",
            ready.reason,
            begun.elapsed().as_secs_f32(),
            ready.message
        ))
    }

    pub fn await_pipeline(
        &self,
        tenant: &str,
        condition: &str,
        status: &str,
        reasons: &[&str],
        deadline: Duration,
    ) -> Result<Condition> {
        self.kubectl
            .await_condition(&pipeline(tenant), condition, status, reasons, deadline)
    }

    /// Waits until a statement's only value is `wanted`.
    pub fn await_value(&self, statement: &str, wanted: &str, deadline: Duration) -> Result<()> {
        until(statement, deadline, || {
            let rows = self.sql.query(statement)?;
            Ok(match rows.first().and_then(|row| row.first()) {
                Some(value) if value == wanted => Look::There(()),
                _ => Look::NotYet(format!("{rows:?}")),
            })
        })
    }

    /// Runs the random workload with every trouble of [`chaos`] beside it.
    pub fn chaos(&self, operations: u64, seed: u64) -> Result<chaos::Report> {
        chaos::run(self.info(), &self.kubectl, &self.programs, operations, seed)
    }

    /// Lets the oracle compare until all is equal, for `within` at most; differences are an error.
    pub fn judge(&self, manifests: &[PathBuf], within: Duration) -> Result<Verdict> {
        let platform = self.info().state_dir.join("oracle-platform.json");
        std::fs::write(&platform, manifests::platform(self.info())?)?;
        let files: Vec<PathBuf> = manifests.iter().cloned().chain([platform]).collect();
        let verdict = self.programs.oracle(&files, within)?;
        ensure!(verdict.rows > 0, "there is nothing to compare");
        if verdict.missing + verdict.extra + verdict.differing > 0 {
            bail!("{} after {:.0}s", verdict.sentence(), verdict.waited_seconds);
        }
        Ok(verdict)
    }

    /// The connector of a tenant's pipeline, `None` when Connect has none.
    pub fn connector(&self, tenant: &str) -> Result<Option<Value>> {
        let url = &self
            .info()
            .connect
            .as_ref()
            .context("this stage has no Kafka Connect")?
            .url;
        let name = manifests::connector(self.info(), tenant);
        match http::get(&format!("{url}/connectors/{name}"))? {
            (200, found) => Ok(Some(found)),
            (404, Value::Object(_)) => Ok(None),
            // A page of HTML: Connect is booting and knows nothing yet.
            (status, _) => bail!("Connect answered {status} about {name}"),
        }
    }
}

/// What is tested: built now, or built before into the folder `TRIBUTARY_TEST_IMAGES`.
fn images() -> Result<ProductImages> {
    match std::env::var_os("TRIBUTARY_TEST_IMAGES").filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(ProductImages {
            operator: Path::new(&folder).join("tributary-operator.tar"),
            relay: Path::new(&folder).join("tributary-relay.tar"),
            kubectl_tributary: Path::new(&folder).join("kubectl-tributary"),
        }),
        None => product(None),
    }
}

/// The pipeline of a tenant.
pub fn pipeline(tenant: &str) -> Object {
    Object::new("tenantpipeline", &format!("tenant-{tenant}"), tenant)
}
