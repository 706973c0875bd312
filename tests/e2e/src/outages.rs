//! Going away and coming back: namespaces deleted while servers are down, and an operator that has lost all it wrote down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tributary_stage::connect;
use tributary_stage::control::{self, Action};

use crate::bad_input::{TENANT, namespace, own_table, pipeline};
use crate::checks::Checks;
use crate::kubectl::Object;
use crate::manifests::{PLATFORM, PLATFORM_NAMESPACE, TENANTS, source_secret};
use crate::scenario::Scenario;
use crate::{http, relay};

const MINUTE: Duration = Duration::from_secs(60);
/// How long its pipeline insists on a server that does not answer. The default is to wait, in a namespace that goes for ten minutes.
const ORPHAN_AFTER: &str = "3s";

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Kafka,
    StarRocks,
    Connect,
}

impl Server {
    fn down(self, scenario: &Scenario) -> Result<()> {
        let order = |action, server| control::order(&scenario.info().state_dir, action, server);
        match self {
            Self::Kafka => order(Action::Stop, "kafka"),
            // Connections stay open and nothing answers.
            Self::StarRocks => order(Action::Pause, "standin-starrocks"),
            Self::Connect => scenario.kubectl.scale(&worker(), 0, MINUTE),
        }
    }

    fn up(self, scenario: &Scenario) -> Result<()> {
        let order = |action, server| control::order(&scenario.info().state_dir, action, server);
        match self {
            Self::Kafka => order(Action::Start, "kafka"),
            Self::StarRocks => order(Action::Resume, "standin-starrocks"),
            Self::Connect => scenario.kubectl.scale(&worker(), 1, 3 * MINUTE),
        }
    }
}

fn worker() -> String {
    format!("{}/{}", connect::NAMESPACE, connect::DEPLOYMENT)
}

/// Runs every step; the pipelines of [`TENANTS`] flow before and after. `one_by_one`: each server goes alone, which takes minutes;
/// else all of them at once.
pub fn check(scenario: &Scenario, checks: &mut Checks, one_by_one: bool) {
    checks.check(
        "every status deleted and the operator restarted: nothing changes",
        || amnesia(scenario),
    );
    // In the order in which they come back.
    const ALL: [Server; 3] = [Server::Kafka, Server::StarRocks, Server::Connect];
    let rounds: Vec<&[Server]> = if one_by_one {
        ALL.chunks(1).collect()
    } else {
        vec![&ALL]
    };
    for (round, servers) in rounds.iter().enumerate() {
        let went_on = checks.check(&format!("a namespace goes while {servers:?} are down"), || {
            applied(scenario, round)?;
            servers
                .iter()
                .rev()
                .try_for_each(|server| server.down(scenario))?;
            let gone = namespace_goes(scenario, round);
            // The other steps need them, whatever came of this one.
            servers.iter().try_for_each(|server| server.up(scenario))?;
            gone
        });
        if !went_on {
            return;
        }
    }
    checks.check(
        "applied again after all that: no snapshot, and nothing is missing",
        || applied(scenario, rounds.len()),
    );
}

/// Applies the pipeline, whose documents of earlier rounds and of the time in between must be there, and by their events
/// alone: a snapshot would have read them again.
fn applied(scenario: &Scenario, round: usize) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let mut manifest = pipeline(&space, TENANT, &own_table());
    manifest["spec"]["onUnreachable"] = json!({"action": "Orphan", "after": ORPHAN_AFTER});
    kubectl.apply(&namespace(&space, TENANT).to_string())?;
    kubectl.apply(&source_secret(TENANT, scenario.mongodb_uri()?))?;
    kubectl.apply(&manifest.to_string())?;
    let object = Object::new("tenantpipeline", &space, TENANT);
    kubectl.await_condition(&object, "Ready", "True", &["Flowing"], 3 * MINUTE)?;
    kubectl.await_condition(&object, "SnapshotComplete", "True", &[], MINUTE)?;
    write(scenario, 2 * round)?;
    let count = format!("SELECT COUNT(*) FROM tenant_{TENANT}.customers");
    scenario.await_value(&count, &(2 * round + 1).to_string(), 2 * MINUTE)?;
    scenario.await_value(
        &format!("{count} WHERE op = 'c'"),
        &(2 * round + 1).to_string(),
        MINUTE,
    )?;
    Ok(format!("{} rows, none read by a snapshot", 2 * round + 1))
}

fn write(scenario: &Scenario, number: usize) -> Result<()> {
    let id = format!("6592008000000000{number:08x}");
    scenario.programs.write(&[json!({
        "insert": format!("shop_{TENANT}.customers"),
        "document": {"_id": {"$oid": id}, "email": format!("{number}@example.com")},
    })])
}

/// The namespace goes, and a document is written that nobody captures yet.
fn namespace_goes(scenario: &Scenario, round: usize) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let begun = std::time::Instant::now();
    kubectl.run(&["delete", "namespace", &space, "--wait=false"])?;
    kubectl.await_gone(&Object::new("namespace", "", &space), 5 * MINUTE)?;
    let seconds = begun.elapsed().as_secs_f32();
    write(scenario, 2 * round + 1)?;
    Ok(format!("gone after {seconds:.1}s"))
}

/// What there is on the backends and in the platform's namespace, as far as an operator could have touched it.
fn fingerprint(scenario: &Scenario) -> Result<Value> {
    let kubectl = &scenario.kubectl;
    let info = scenario.info();
    let connect = &info
        .connect
        .as_ref()
        .context("this stage has no Kafka Connect")?
        .url;
    let (_, connectors) = http::get(&format!("{connect}/connectors?expand=info"))?;
    let tables = scenario.sql.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ID FROM information_schema.tables_config ORDER BY 1, 2",
    )?;
    let objects: Vec<Value> = ["deployment", "configmap", "secret"]
        .iter()
        .map(|kind| {
            let listed = kubectl.run(&["get", kind, "-n", PLATFORM_NAMESPACE, "-o", "json"])?;
            let listed: Value = serde_json::from_str(&listed)?;
            let found = listed["items"].as_array().into_iter().flatten();
            Ok(found
                .filter(|object| {
                    object["metadata"]["name"]
                        .as_str()
                        .is_some_and(|name| name.starts_with("relay-"))
                })
                .map(|object| {
                    json!([
                        kind,
                        object["metadata"]["name"],
                        object["metadata"]["uid"],
                        object["spec"],
                        object["data"]
                    ])
                })
                .collect())
        })
        .collect::<Result<_>>()?;
    let pods = TENANTS
        .iter()
        .map(|tenant| relay::pods(kubectl, tenant))
        .collect::<Result<Vec<_>>>()?;
    let sources = Object::new("secret", connect::NAMESPACE, connect::SOURCES_SECRET);
    let sources = kubectl.get(&sources)?.context("the mirrored Secret is gone")?;
    Ok(json!({
        "connectors": connectors, "tables": tables, "objects": objects,
        "relays": format!("{pods:?}"), "sources": sources["data"],
    }))
}

/// Status is a cache: what it held is found again, and nothing is done twice.
fn amnesia(scenario: &Scenario) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let before = fingerprint(scenario)?;
    let operator = format!("{PLATFORM_NAMESPACE}/{}-operator", crate::chart::RELEASE);
    kubectl.scale(&operator, 0, MINUTE)?;
    let mut forgotten = 0;
    for kind in ["dataplatform", "tenantpipeline", "starrockstable"] {
        for object in kubectl.list(kind, "")? {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let (name, space) = (text("name"), text("namespace"));
            let patch = r#"[{"op": "remove", "path": "/status"}]"#;
            let args = [
                "patch",
                kind,
                &name,
                "-n",
                &space,
                "--subresource=status",
                "--type=json",
                "-p",
                patch,
            ];
            kubectl.run(&args)?;
            forgotten += 1;
        }
    }
    kubectl.scale(&operator, 1, 2 * MINUTE)?;
    let platform = Object::new("dataplatform", PLATFORM_NAMESPACE, PLATFORM);
    kubectl.await_condition(&platform, "Ready", "True", &[], 2 * MINUTE)?;
    for tenant in TENANTS {
        scenario.await_flowing(tenant)?;
    }
    let after = fingerprint(scenario)?;
    for part in ["connectors", "tables", "objects", "relays", "sources"] {
        ensure!(
            before[part] == after[part],
            "{part} changed: before {}, after {}",
            before[part],
            after[part]
        );
    }
    Ok(format!("{forgotten} statuses"))
}
