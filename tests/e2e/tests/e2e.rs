//! The whole line on real parts: kubectl, operator, Connect and Debezium, Kafka, relay, StarRocks. Raises the stage once.
//!
//! `cargo test -p tributary-e2e --test e2e -- --chaos 50000 [--seed 7]` runs the chaos alone, at that size; without it a small
//! one (`--operations`, 0 for none) is a step among the others. `--one-by-one` has servers taken away each by itself.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tributary_e2e::checks::Checks;
use tributary_e2e::kubectl::Object;
use tributary_e2e::manifests::{self, PLATFORM, PLATFORM_NAMESPACE, TENANTS, source_secret};
use tributary_e2e::scenario::{Scenario, pipeline};
use tributary_e2e::secrets::{self, Secret};
use tributary_e2e::wait::{Look, until};
use tributary_e2e::{bad_input, bad_manifests, bad_records, chart, outages, relay};
use tributary_stage::connect;

const MINUTE: Duration = Duration::from_secs(60);
const OPERATIONS: u64 = 3000;
/// A source where nobody is: what the servers say about it must not repeat the password.
const NOWHERE: &str = "mongodb://reader:lost-and-4ever@127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=2000&connectTimeoutMS=2000";
const SEED: u64 = 1;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED  {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let scenario = match Scenario::raise() {
        Ok(scenario) => scenario,
        Err(error) => {
            println!("FAILED  the stage: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut checks = Checks::default();
    match arguments.chaos {
        Some(operations) => chaos_alone(&scenario, &mut checks, operations, arguments.seed),
        None => run(&scenario, &mut checks, &arguments),
    }
    if checks.finish() {
        ExitCode::SUCCESS
    } else {
        println!("logs: {}", scenario.info().logs.display());
        ExitCode::FAILURE
    }
}

#[derive(Debug, PartialEq)]
struct Arguments {
    /// Run nothing but the chaos, with so many operations.
    chaos: Option<u64>,
    /// Operations of the chaos among the other steps.
    operations: u64,
    /// Take servers away one by one where a short run takes all at once.
    one_by_one: bool,
    seed: u64,
}

impl Arguments {
    /// `None`: `cargo test <filter>` reaches every test binary, and the filter does not mean this one, which is a single scenario.
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut read = Self {
            chaos: None,
            operations: OPERATIONS,
            one_by_one: false,
            seed: SEED,
        };
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64> {
                let text = arguments
                    .next()
                    .with_context(|| format!("{argument} wants a number"))?;
                text.parse()
                    .with_context(|| format!("{argument} wants a number, not {text}"))
            };
            match argument.as_str() {
                "--chaos" => read.chaos = Some(number()?),
                "--operations" => read.operations = number()?,
                "--one-by-one" => read.one_by_one = true,
                "--seed" => read.seed = number()?,
                filter if !filter.starts_with('-') && !"e2e".contains(filter) => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(read))
    }
}

fn chaos_alone(scenario: &Scenario, checks: &mut Checks, operations: u64, seed: u64) {
    let applied = installed(scenario, checks)
        && checks.check("pipelines and their Secrets are applied", || {
            for file in &manifests::files()[2..] {
                scenario.kubectl.apply_file(file)?;
            }
            for tenant in TENANTS {
                scenario
                    .kubectl
                    .apply(&source_secret(tenant, scenario.mongodb_uri()?))?;
            }
            Ok(String::new())
        });
    if applied && flowing(scenario, checks) {
        chaos(scenario, checks, operations, seed);
    }
}

/// Without the steps of `installed` nothing later can be judged, so the first failure there ends the run.
fn run(scenario: &Scenario, checks: &mut Checks, arguments: &Arguments) {
    if !installed(scenario, checks) {
        return;
    }
    refusals(scenario, checks);
    credentials(scenario, checks);
    if !flowing(scenario, checks) {
        return;
    }
    if arguments.operations > 0 {
        chaos(scenario, checks, arguments.operations, arguments.seed);
    }
    checks.check("a value of another type waits in _extra", || mixed_type(scenario));
    bad_records::check(scenario, checks);
    checks.check(
        "Lossless says that documents wait in the dead-letter topic",
        || {
            let reasons = ["RowsDeadLettered"];
            Ok(scenario
                .await_pipeline(TENANTS[0], "Lossless", "False", &reasons, MINUTE)?
                .message)
        },
    );
    bad_manifests::check(scenario, checks);
    bad_input::check(scenario, checks);
    checks.check("a changed setting reaches the relay where it runs", || {
        reconfigured(scenario)
    });
    checks.check("a second relay shares the partitions", || scaled(scenario));
    connect_away(scenario, checks);
    outages::check(scenario, checks, arguments.one_by_one);
    deletion(scenario, checks);
    checks.check("at last the oracle finds no difference", || {
        Ok(scenario.judge(&manifests::files(), 2 * MINUTE)?.sentence())
    });
    checks.check(
        "no credential is readable in Connect, the cluster's objects, events and logs",
        || nothing_leaked(scenario),
    );
}

fn installed(scenario: &Scenario, checks: &mut Checks) -> bool {
    let kubectl = &scenario.kubectl;
    checks.check("helm installs the chart", || {
        chart::install(kubectl, scenario.info())
    }) && checks.check("the platform is applied and Ready", || {
        kubectl.apply(&manifests::platform(scenario.info())?)?;
        let platform = Object::new("dataplatform", PLATFORM_NAMESPACE, PLATFORM);
        let ready = kubectl.await_condition(&platform, "Ready", "True", &[], 2 * MINUTE)?;
        Ok(ready.message)
    }) && checks.check("namespaces and the shared table are applied", || {
        for file in &manifests::files()[..2] {
            kubectl.apply_file(file)?;
        }
        let table = Object::new("starrockstable", "shop-shared", "orders");
        let ready = kubectl.await_condition(&table, "Ready", "True", &["InSync"], MINUTE)?;
        Ok(ready.message)
    })
}

/// Every file in `refused/` says in its first line what the refusal must name.
fn refusals(scenario: &Scenario, checks: &mut Checks) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("refused");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    checks.check("there are bad manifests to refuse", || {
        ensure!(!files.is_empty(), "none found");
        Ok(format!("{}", files.len()))
    });
    for file in files {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        checks.check(&format!("refused: {name}"), || {
            let text = std::fs::read_to_string(&file)?;
            let expected = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# expect: "))
                .context("its first line does not say what to expect")?;
            let refusal = scenario.kubectl.refusal(&text)?;
            ensure!(refusal.contains(expected), "expected {expected:?} in: {refusal}");
            Ok(refusal.lines().next().unwrap_or_default().to_owned())
        });
    }
}

/// A pipeline without its Secret, then with one that leads nowhere, then with the right one.
fn credentials(scenario: &Scenario, checks: &mut Checks) {
    let kubectl = &scenario.kubectl;
    let [tenant, other] = TENANTS;
    checks.check("a missing Secret is named", || {
        for file in &manifests::files()[2..] {
            kubectl.apply_file(file)?;
        }
        let refused = scenario.await_pipeline(tenant, "Accepted", "False", &["SecretNotFound"], MINUTE)?;
        ensure!(
            refused.message.contains("acme-mongodb"),
            "the message does not name it: {}",
            refused.message
        );
        Ok(refused.message)
    });
    checks.check(
        "a Secret that leads nowhere stops the connector, not the operator",
        || {
            kubectl.apply(&source_secret(tenant, NOWHERE))?;
            let reasons = ["ConfigInvalid", "SourceUnreachable", "TaskFailed"];
            let broken = scenario.await_pipeline(tenant, "ConnectorReady", "False", &reasons, 3 * MINUTE)?;
            Ok(format!("{}: {}", broken.reason, broken.message))
        },
    );
    checks.check("the right Secrets", || {
        let uri = scenario.mongodb_uri()?;
        kubectl.apply(&source_secret(tenant, uri))?;
        kubectl.apply(&source_secret(other, uri))?;
        Ok(String::new())
    });
}

fn flowing(scenario: &Scenario, checks: &mut Checks) -> bool {
    for tenant in TENANTS {
        if !checks.check(&format!("pipeline {tenant} is Ready"), || {
            scenario.await_flowing(tenant)
        }) {
            return false;
        }
    }
    checks.check("one document becomes one row", || {
        let id = "6592008029c8c3e4dc76256c";
        scenario.programs.write(&[json!({
            "insert": "shop_acme.customers",
            "document": {"_id": {"$oid": id}, "email": "first@example.com", "profile": {"address": {"city": "Graz"}}},
        })])?;
        let select = format!("SELECT city FROM tenant_acme.customers WHERE customer_id = '{id}'");
        scenario.await_value(&select, "Graz", MINUTE)?;
        Ok(String::new())
    })
}

/// Every trouble at once, and in the end the tables hold what MongoDB holds.
fn chaos(scenario: &Scenario, checks: &mut Checks, operations: u64, seed: u64) {
    checks.check(&format!("chaos of {operations} operations, seed {seed}"), || {
        let report = scenario.chaos(operations, seed)?;
        Ok(report.to_string())
    });
    checks.check("afterwards the oracle finds no difference", || {
        let verdict = scenario.judge(&manifests::files(), 5 * MINUTE)?;
        Ok(format!(
            "{}, equal {:.1}s after the last write",
            verdict.sentence(),
            verdict.waited_seconds
        ))
    });
    for tenant in TENANTS {
        checks.check(&format!("pipeline {tenant} has caught up and says so"), || {
            let fresh = scenario.await_pipeline(tenant, "Fresh", "True", &["WithinObjective"], 3 * MINUTE)?;
            Ok(fresh.message)
        });
    }
}

fn mixed_type(scenario: &Scenario) -> Result<String> {
    let id = "6592008029c8c3e4dc76256d";
    scenario.programs.write(&[json!({
        "insert": "shop_acme.customers",
        "document": {"_id": {"$oid": id}, "email": "gold@example.com", "loyalty": "gold"},
    })])?;
    let row = format!("FROM tenant_acme.customers WHERE customer_id = '{id}'");
    scenario.await_value(&format!("SELECT email {row}"), "gold@example.com", MINUTE)?;
    let rows = scenario.sql.query(&format!("SELECT loyalty, _extra {row}"))?;
    let [loyalty, extra] = rows.first().context("the row is gone")?.as_slice() else {
        bail!("two columns were asked for: {rows:?}");
    };
    ensure!(loyalty == "NULL", "loyalty is {loyalty}");
    let extra: serde_json::Value = serde_json::from_str(extra).with_context(|| extra.clone())?;
    ensure!(
        extra["loyalty"]["v"] == "gold" && extra["loyalty"]["t"] == "string",
        "_extra is {extra}"
    );
    Ok(extra.to_string())
}

/// The same pod, without a restart, with another configuration.
fn reconfigured(scenario: &Scenario) -> Result<String> {
    let [tenant, _] = TENANTS;
    let running = || -> Result<Vec<(String, String)>> {
        let pods = relay::pods(&scenario.kubectl, tenant)?;
        Ok(pods.into_iter().map(|pod| (pod.name, pod.container)).collect())
    };
    let before = running()?;
    let begun = std::time::Instant::now();
    patch(
        scenario,
        tenant,
        &json!({"relay": {"batch": {"linger": "150ms"}}}),
    )?;
    scenario.await_pipeline(tenant, "RelayReady", "True", &["Running"], 2 * MINUTE)?;
    let taken_up = begun.elapsed();
    let after = running()?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(format!(
        "taken up after {:.1}s, no restart",
        taken_up.as_secs_f32()
    ))
}

fn scaled(scenario: &Scenario) -> Result<String> {
    let [tenant, _] = TENANTS;
    patch(scenario, tenant, &json!({"relay": {"replicas": 2}}))?;
    scenario.await_pipeline(tenant, "RelayReady", "True", &["Running"], 3 * MINUTE)?;
    let pods = relay::pods(&scenario.kubectl, tenant)?;
    ensure!(pods.len() == 2 && pods.iter().all(|pod| pod.ready), "{pods:?}");
    let ids = [
        "6592008029c8c3e4dc76257a",
        "6592008029c8c3e4dc76257b",
        "6592008029c8c3e4dc76257c",
    ];
    let documents = ids.map(|id| {
        json!({"insert": "shop_acme.customers", "document": {"_id": {"$oid": id}, "email": "two@example.com"}})
    });
    scenario.programs.write(&documents)?;
    let select = "SELECT COUNT(*) FROM tenant_acme.customers WHERE email = 'two@example.com'";
    scenario.await_value(select, "3", MINUTE)?;
    Ok(format!("{} relays ready", pods.len()))
}

/// Changes the spec, and waits until the operator has seen that.
fn patch(scenario: &Scenario, tenant: &str, spec: &serde_json::Value) -> Result<()> {
    let namespace = format!("tenant-{tenant}");
    let body = json!({"spec": spec}).to_string();
    let kubectl = &scenario.kubectl;
    kubectl.run(&[
        "patch",
        "tp",
        tenant,
        "-n",
        &namespace,
        "--type=merge",
        "-p",
        &body,
    ])?;
    until("the new spec is seen", MINUTE, || {
        let found = kubectl.get(&pipeline(tenant))?.unwrap_or_default();
        let (wanted, seen) = (
            &found["metadata"]["generation"],
            &found["status"]["observedGeneration"],
        );
        Ok(match wanted.is_i64() && wanted == seen {
            true => Look::There(()),
            false => Look::NotYet(format!("generation {wanted}, seen {seen}")),
        })
    })
}

/// Connect is scaled to nothing and back; documents written meanwhile arrive afterwards.
fn connect_away(scenario: &Scenario, checks: &mut Checks) {
    let [tenant, _] = TENANTS;
    let deployment = format!("{}/{}", connect::NAMESPACE, connect::DEPLOYMENT);
    let id = "6592008029c8c3e4dc76256e";
    checks.check("Connect taken away: the condition says so", || {
        scenario.kubectl.scale(&deployment, 0, MINUTE)?;
        scenario.programs.write(&[json!({
            "insert": "shop_acme.customers", "document": {"_id": {"$oid": id}, "email": "meanwhile@example.com"},
        })])?;
        let unknown =
            scenario.await_pipeline(tenant, "ConnectorReady", "Unknown", &["BackendUnavailable"], 2 * MINUTE)?;
        Ok(unknown.message)
    });
    checks.check("Connect back: healed, and nothing was lost", || {
        scenario.kubectl.scale(&deployment, 1, 3 * MINUTE)?;
        let reasons = ["Streaming", "Snapshotting"];
        let healed = scenario.await_pipeline(tenant, "ConnectorReady", "True", &reasons, 3 * MINUTE)?;
        let select = format!("SELECT email FROM tenant_acme.customers WHERE customer_id = '{id}'");
        scenario.await_value(&select, "meanwhile@example.com", 2 * MINUTE)?;
        Ok(healed.reason)
    });
}

/// Moving parts go, data stays, the finalizer is released.
fn deletion(scenario: &Scenario, checks: &mut Checks) {
    let kubectl = &scenario.kubectl;
    let [tenant, other] = TENANTS;
    let count = || scenario.sql.query("SELECT COUNT(*) FROM tenant_acme.customers");
    checks.check(
        "a deleted pipeline takes its moving parts and leaves the data",
        || {
            let before = count()?;
            let object = pipeline(tenant);
            kubectl.run(&[
                "delete",
                object.kind,
                &object.name,
                "-n",
                &object.namespace,
                "--wait=false",
            ])?;
            kubectl.await_gone(&object, 3 * MINUTE)?;
            ensure!(
                scenario.connector(tenant)?.is_none(),
                "its connector is still there"
            );
            until("no relay pod", MINUTE, || {
                let pods = relay::pods(kubectl, tenant)?;
                Ok(if pods.is_empty() {
                    Look::There(())
                } else {
                    Look::NotYet(format!("{pods:?}"))
                })
            })?;
            let secret = Object::new("secret", connect::NAMESPACE, connect::SOURCES_SECRET);
            let mirrored = kubectl
                .get(&secret)?
                .map(|secret| secret["data"].to_string())
                .unwrap_or_default();
            ensure!(
                !mirrored.contains("tenant-acme.acme."),
                "its credential is still mirrored"
            );
            let after = count()?;
            ensure!(before == after, "rows before {before:?}, after {after:?}");
            Ok(format!("{} rows kept", after.concat().concat()))
        },
    );
    checks.check("applied again it goes on where it was, without a snapshot", || {
        // Both deletes and the snapshot's `r` would be seen in the shared table.
        let read = || {
            scenario
                .sql
                .query("SELECT COUNT(*) FROM shop.orders WHERE tenant = 'acme' AND op = 'r'")
        };
        let before = read()?;
        let id = "6592008029c8c3e4dc76256f";
        scenario.programs.write(&[json!({
            "insert": "shop_acme.customers", "document": {"_id": {"$oid": id}, "email": "between@example.com"},
        })])?;
        kubectl.apply_file(&manifests::files()[2])?;
        scenario.await_flowing(tenant)?;
        let select = format!("SELECT email FROM tenant_acme.customers WHERE customer_id = '{id}'");
        scenario.await_value(&select, "between@example.com", 2 * MINUTE)?;
        let after = read()?;
        ensure!(
            before == after,
            "rows that a snapshot read: before {before:?}, after {after:?}"
        );
        Ok(format!("{} rows of a snapshot, as before", after.concat().concat()))
    });
    checks.check("the other tenant is untouched", || {
        ensure!(
            scenario
                .connector(other)?
                .is_some_and(|c| c["name"] == manifests::connector(scenario.info(), other)),
            "its connector is gone"
        );
        scenario.await_flowing(other)
    });
}

/// The last step: whatever the others provoked has been said by now.
fn nothing_leaked(scenario: &Scenario) -> Result<String> {
    let info = scenario.info();
    let connect = info.connect.as_ref().context("this stage has no Kafka Connect")?;
    let starrocks = info.starrocks.as_ref().context("this stage has no StarRocks")?;
    let mut secrets = Secret::of_uri("the source's URI", scenario.mongodb_uri()?)?;
    secrets.extend(Secret::of_uri("the URI that leads nowhere", NOWHERE)?);
    secrets.push(Secret::new("StarRocks' password", &starrocks.password)?);
    secrets::search(&scenario.kubectl, &connect.url, &info.logs, &secrets)?.verdict()
}
