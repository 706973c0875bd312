//! The demo's chapters, in the order in which they are shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tributary_e2e::kubectl::Object;
use tributary_e2e::manifests::{self, PLATFORM_NAMESPACE, TENANTS, source_secret};
use tributary_e2e::process::run;
use tributary_e2e::scenario::Scenario;
use tributary_e2e::wait::{Look, until};
use tributary_e2e::{chart, http, relay};
use tributary_stage::{Stage, StageInfo, binary, connect, setup};

use crate::console::Console;
use crate::latency::Stages;

/// A real public data set: nested, with missing fields and mixed types (CC0-1.0).
const PACKAGE: &str = "@mdn/browser-compat-data@8.1.9";
const MINUTE: Duration = Duration::from_secs(60);
/// Writes whose way is timed, per second, and how many before counting.
const LATENCY: (u32, u32, u32) = (300, 20, 30);
/// Live operations, per second; the relay is killed at half.
const LIVE: (u64, u64) = (2000, 200);

pub(crate) struct Story {
    scenario: Scenario,
    package: PathBuf,
}

impl Story {
    /// Set-up, images, servers.
    pub(crate) fn begin(console: &mut Console) -> Result<Self> {
        console.say("# Tributary: MongoDB changes as StarRocks rows, on a real Kubernetes, Kafka, Connect and Debezium");
        let begun = Instant::now();
        let package = setup::npm(&[PACKAGE])?.join("node_modules/@mdn/browser-compat-data");
        let scenario = Scenario::raise()?;
        console.say(format!(
            "stage up after {:.0}s (images and set-up included)",
            begun.elapsed().as_secs_f32()
        ));
        console.say(stand_ins(scenario.info()));
        Ok(Self { scenario, package })
    }

    pub(crate) fn stage(&self) -> &Stage {
        self.scenario.stage()
    }

    pub(crate) fn tell(&self, console: &mut Console) -> Result<()> {
        self.documents(console)?;
        self.install(console)?;
        self.refusal(console)?;
        self.apply(console)?;
        self.rows(console)?;
        self.latency(console)?;
        self.killed(console)?;
        self.mixed(console)?;
        self.connect_away(console)?;
        self.memory(console)
    }

    fn documents(&self, console: &mut Console) -> Result<()> {
        console.chapter("Documents that were there before: a snapshot's work");
        let text = self.python(
            "webcompat/load.py",
            &["--package", text(&self.package)?],
            2 * MINUTE,
        )?;
        let loaded: Value = serde_json::from_str(&text)?;
        console.say(format!("{PACKAGE} (npm, CC0-1.0) in MongoDB: {loaded}"));
        Ok(())
    }

    fn install(&self, console: &mut Console) -> Result<()> {
        console.chapter("The operator, from its chart");
        console.command(
            "helm install tributary charts/tributary --namespace tributary --create-namespace --wait",
        );
        console.say(chart::install(&self.scenario.kubectl, self.scenario.info())?);
        self.scenario
            .kubectl
            .apply(&manifests::platform(self.scenario.info())?)?;
        let platform = Object::new("dataplatform", PLATFORM_NAMESPACE, manifests::PLATFORM);
        self.scenario
            .kubectl
            .await_condition(&platform, "Ready", "True", &[], 2 * MINUTE)?;
        self.kubectl(console, &["get", "dplat", "-A"])
    }

    fn refusal(&self, console: &mut Console) -> Result<()> {
        console.chapter("Bad YAML is refused when it is applied, and the field is named");
        let good = fs::read_to_string(examples().join("4-globex.yaml"))?;
        let bad = good
            .replace(
                "name: source_file, type",
                "name: source_file, from: file, value: none, type",
            )
            .replace("namespace: tenant-globex", "namespace: default");
        ensure!(bad != good, "the example changed: it has no column source_file");
        console.command(
            "kubectl apply -f bad.yaml        # 4-globex.yaml, source_file with both from and value",
        );
        let refusal = self.scenario.kubectl.refusal(&bad)?;
        ensure!(
            refusal.contains("template.columns[5]") && refusal.contains("at most one of from, value"),
            "refused with {refusal}"
        );
        console.say(refusal.trim());
        Ok(())
    }

    fn apply(&self, console: &mut Console) -> Result<()> {
        console.chapter("Two tenants, applied with kubectl");
        let begun = Instant::now();
        for file in files() {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            console.command(&format!("kubectl apply -f examples/web-compat/{name}"));
            console.say(self.scenario.kubectl.apply_file(&file)?.trim());
        }
        let uri = self.scenario.mongodb_uri()?;
        for tenant in TENANTS {
            self.scenario.kubectl.apply(&source_secret(tenant, uri))?;
        }
        for tenant in TENANTS {
            self.scenario.await_flowing(tenant)?;
            self.scenario
                .await_pipeline(tenant, "SnapshotComplete", "True", &["Complete"], 10 * MINUTE)?;
            self.scenario
                .await_pipeline(tenant, "Fresh", "True", &[], 2 * MINUTE)?;
        }
        console.say(format!(
            "both pipelines Ready, snapshot complete and fresh after {:.0}s",
            begun.elapsed().as_secs_f32()
        ));
        self.kubectl(console, &["get", "tp,srt", "-A"])?;
        console.command("kubectl tributary status acme -n tenant-acme");
        let status = self.plugin(&["status", TENANTS[0], "-n", &format!("tenant-{}", TENANTS[0])])?;
        console.say(status.trim_end());
        self.judge(console)
    }

    fn rows(&self, console: &mut Console) -> Result<()> {
        console.chapter("Rows, by SQL");
        self.sql(
            console,
            "SELECT experimental, COUNT(*) AS features, COUNT(chrome_since) AS in_chrome FROM tenant_acme.features \
             GROUP BY experimental ORDER BY 1",
        )?;
        self.sql(
            console,
            "SELECT tenant, browser, COUNT(*) AS releases, MAX(released_at) AS newest FROM compat.releases \
             GROUP BY tenant, browser ORDER BY releases DESC LIMIT 5",
        )
    }

    fn latency(&self, console: &mut Console) -> Result<()> {
        console.chapter("Write to visible: inserts, updates and deletes while a dashboard polls");
        let page = || self.relay_metrics(TENANTS[0]);
        let before = Stages::parse(&page()?, "tenant_acme", "reviews")?;
        let (count, rate, warm_up) = LATENCY;
        let [count, rate, warm_up] = [count, rate, warm_up].map(|number| number.to_string());
        let starrocks = self
            .scenario
            .info()
            .starrocks
            .as_ref()
            .context("this stage has no StarRocks")?;
        let arguments = [
            "--starrocks",
            &starrocks.mysql,
            "--user",
            &starrocks.user,
            "--count",
            &count,
            "--rate",
            &rate,
        ];
        let text = self.python(
            "webcompat/latency.py",
            &[&arguments[..], &["--warm-up", &warm_up]].concat(),
            3 * MINUTE,
        )?;
        let seen: Value = serde_json::from_str(&text)?;
        console.say(format!(
            "write → SELECT shows it: p50 {} ms, p99 {} ms, max {} ms (N = {}, {rate} writes/s, {warm_up} before counting; one poll {} ms)",
            seen["p50"], seen["p99"], seen["max"], seen["samples"], seen["poll"]
        ));
        let after = Stages::parse(&page()?, "tenant_acme", "reviews")?;
        for (stage, what) in [
            ("source", "source (MongoDB → Debezium → Kafka)"),
            ("relay", "relay  (Kafka → load begins, linger included)"),
            ("sink", "sink   (Stream Load, publish included)"),
        ] {
            let (p50, p99) = after
                .since(&before, stage)
                .with_context(|| format!("the relay timed no {stage}"))?;
            console.say(format!("  {what}: p50 {p50:.0} ms, p99 {p99:.0} ms"));
        }
        Ok(())
    }

    fn killed(&self, console: &mut Console) -> Result<()> {
        console.chapter("A relay killed -9 in mid-stream");
        let (operations, rate) = LIVE;
        let [operations_text, rate_text] = [operations, rate].map(|number| number.to_string());
        let arguments = [
            "--package",
            text(&self.package)?,
            "--operations",
            &operations_text,
            "--rate",
            &rate_text,
        ];
        let mut live = self.scenario.programs.stream("webcompat/live.py", &arguments)?;
        let mut kill = None;
        while let Some(progress) = live.progress()? {
            if kill.is_none() && progress.operations >= operations / 2 {
                let limit = 2 * MINUTE;
                kill = Some(relay::kill_and_await(
                    self.scenario.info(),
                    &self.scenario.kubectl,
                    TENANTS[0],
                    limit,
                )?);
            }
            if progress.is_final {
                console.say(format!(
                    "{} operations in {:.1}s: {} inserts, {} updates, {} replaces, {} deletes",
                    progress.operations,
                    progress.seconds,
                    progress.insert,
                    progress.update,
                    progress.replace,
                    progress.delete
                ));
            }
        }
        console.say(kill.context("the operations ended before the relay was killed")?);
        self.judge(console)
    }

    /// Compares every row with a direct computation from MongoDB's final state, by another program in another language.
    fn judge(&self, console: &mut Console) -> Result<()> {
        let verdict = self.scenario.judge(&files(), 3 * MINUTE)?;
        console.say(format!(
            "{}, equal {:.1}s after it was asked",
            verdict.sentence(),
            verdict.waited_seconds
        ));
        Ok(())
    }

    fn mixed(&self, console: &mut Console) -> Result<()> {
        console.chapter("Values of another type wait in _extra; nothing is lost");
        self.sql(
            console,
            "SELECT feature_id, chrome_since, _extra FROM tenant_acme.features \
             WHERE feature_id = 'api.CanvasPaintEvent' OR feature_id LIKE 'css.at-rules.annotation%' ORDER BY 1 LIMIT 3",
        )?;
        let waiting = self
            .scenario
            .sql
            .query("SELECT COUNT(*) FROM tenant_acme.features WHERE _extra LIKE '%version_added%'")?;
        let waiting = waiting.concat().concat();
        ensure!(
            waiting != "0",
            "the data set has `version_added: false`, and no row kept it"
        );
        console.say(format!(
            "{waiting} features of acme have a version_added that is no string, kept beside the row"
        ));
        Ok(())
    }

    fn connect_away(&self, console: &mut Console) -> Result<()> {
        console.chapter("Kafka Connect taken away, and back");
        let deployment = format!("{}/{}", connect::NAMESPACE, connect::DEPLOYMENT);
        console.command(&format!(
            "kubectl -n {} scale deployment/{} --replicas=0",
            connect::NAMESPACE,
            connect::DEPLOYMENT
        ));
        self.scenario.kubectl.scale(&deployment, 0, MINUTE)?;
        let tenant = TENANTS[0];
        let away = self.scenario.await_pipeline(
            tenant,
            "ConnectorReady",
            "Unknown",
            &["BackendUnavailable"],
            2 * MINUTE,
        )?;
        console.say(format!(
            "ConnectorReady=Unknown/{}: {}",
            away.reason, away.message
        ));
        let ready = self
            .scenario
            .await_pipeline(tenant, "Ready", "True", &[], MINUTE)?;
        console.say(format!("Ready=True/{}: {}", ready.reason, ready.message));
        console.command(&format!(
            "kubectl -n {} scale deployment/{} --replicas=1",
            connect::NAMESPACE,
            connect::DEPLOYMENT
        ));
        let begun = Instant::now();
        self.scenario.kubectl.scale(&deployment, 1, 3 * MINUTE)?;
        self.scenario
            .await_pipeline(tenant, "ConnectorReady", "True", &["Streaming"], 3 * MINUTE)?;
        console.say(format!(
            "ConnectorReady=True/Streaming again {:.0}s later",
            begun.elapsed().as_secs_f32()
        ));
        self.judge(console)
    }

    /// As the kubelet measures it.
    fn memory(&self, console: &mut Console) -> Result<()> {
        console.chapter("Memory");
        let kubernetes = self
            .scenario
            .info()
            .kubernetes
            .as_ref()
            .context("this stage has no Kubernetes")?;
        let node = kubernetes.node.as_ref().context("this stage has no node")?;
        let path = format!(
            "/api/v1/nodes/{}/proxy/stats/summary?only_cpu_and_memory=true",
            node.name
        );
        let measured = until("memory of operator and relays", MINUTE, || {
            let summary: Value = serde_json::from_str(&self.scenario.kubectl.run(&["get", "--raw", &path])?)?;
            let pods = summary["pods"].as_array().cloned().unwrap_or_default();
            let of = |pod: &Value| {
                let container = pod["containers"].as_array()?.first()?;
                Some((
                    pod["podRef"]["name"].as_str()?.to_owned(),
                    container["memory"]["rssBytes"].as_u64()?,
                ))
            };
            let ours = pods
                .iter()
                .filter(|pod| pod["podRef"]["namespace"] == PLATFORM_NAMESPACE);
            let found: Vec<(String, u64)> = ours.filter_map(of).collect();
            Ok(if found.len() > TENANTS.len() {
                Look::There(found)
            } else {
                Look::NotYet(format!("{found:?}"))
            })
        })?;
        for (pod, bytes) in measured {
            console.say(format!(
                "  {pod}: {:.1} MiB resident",
                bytes as f64 / f64::from(1 << 20)
            ));
        }
        Ok(())
    }

    pub(crate) fn what_to_try(&self, console: &mut Console) {
        let info = self.scenario.info();
        let kubeconfig = info
            .kubernetes
            .as_ref()
            .map(|kubernetes| kubernetes.kubeconfig.display().to_string());
        let starrocks = info
            .starrocks
            .as_ref()
            .map(|starrocks| starrocks.mysql.clone())
            .unwrap_or_default();
        let (host, port) = starrocks.rsplit_once(':').unwrap_or_default();
        let user = info
            .starrocks
            .as_ref()
            .map(|starrocks| starrocks.user.clone())
            .unwrap_or_default();
        console.chapter("The stage stays up until Ctrl-C. Try:");
        console.say(format!(
            "export PATH={}:$PATH KUBECONFIG={}",
            info.bin.display(),
            kubeconfig.unwrap_or_default()
        ));
        console.say("kubectl get tp,srt -A");
        console.say(format!(
            "{} status acme -n tenant-acme",
            self.scenario.kubectl_tributary.display()
        ));
        console.say(format!(
            "mariadb -h {host} -P {port} -u {user} -p -e 'SELECT * FROM compat.releases LIMIT 5'"
        ));
        console.say(format!(
            "MongoDB: {}",
            self.scenario.mongodb_uri().unwrap_or_default()
        ));
        console.say(format!("logs: {}", info.logs.display()));
    }

    fn kubectl(&self, console: &mut Console, arguments: &[&str]) -> Result<()> {
        console.command(&format!("kubectl {}", arguments.join(" ")));
        console.say(self.scenario.kubectl.run(arguments)?.trim_end());
        Ok(())
    }

    fn sql(&self, console: &mut Console, statement: &str) -> Result<()> {
        console.say(format!("mysql> {statement}"));
        console.say(self.scenario.sql.show(statement)?.trim_end());
        Ok(())
    }

    fn plugin(&self, arguments: &[&str]) -> Result<String> {
        let kubernetes = self
            .scenario
            .info()
            .kubernetes
            .as_ref()
            .context("this stage has no Kubernetes")?;
        let mut command = Command::new(&self.scenario.kubectl_tributary);
        command.args(arguments).env("KUBECONFIG", &kubernetes.kubeconfig);
        run(&mut command, "", MINUTE)?.ok("kubectl tributary")
    }

    fn python(&self, script: &str, arguments: &[&str], deadline: Duration) -> Result<String> {
        self.scenario.programs.run(script, arguments, deadline)
    }

    fn relay_metrics(&self, tenant: &str) -> Result<String> {
        http::text(&format!(
            "http://{}/metrics",
            relay::address(&self.scenario.kubectl, tenant)?
        ))
    }
}

/// What the figures below were measured against.
fn stand_ins(info: &StageInfo) -> String {
    let mongodb = info.mongodb.as_ref().is_some_and(|mongodb| mongodb.stand_in);
    let starrocks = info
        .starrocks
        .as_ref()
        .is_some_and(|starrocks| starrocks.stand_in);
    match (mongodb, starrocks) {
        (true, true) => {
            "stand-ins: MongoDB and StarRocks (publish delay 100 ms); everything else is the real thing"
                .to_owned()
        }
        (true, false) => "stand-in: MongoDB; everything else is the real thing".to_owned(),
        (false, true) => {
            "stand-in: StarRocks (publish delay 100 ms); everything else is the real thing".to_owned()
        }
        (false, false) => "no stand-ins: everything is the real thing".to_owned(),
    }
}

fn examples() -> PathBuf {
    binary::workspace().join("examples/web-compat")
}

/// The example's files, in the order in which they are applied.
fn files() -> Vec<PathBuf> {
    [
        "1-namespaces.yaml",
        "2-shared-releases.yaml",
        "3-acme.yaml",
        "4-globex.yaml",
    ]
    .iter()
    .map(|name| examples().join(name))
    .collect()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not text", path.display()))
}
