//! Everything at once: random operations while relays are killed, doubled and frozen, while Kafka, Connect and MongoDB are
//! restarted and StarRocks misbehaves. Seeded: the same seed orders the same troubles at the same operations, as far as
//! a machine's timing allows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tributary_stage::control::{self, Action};
use tributary_stage::{StageInfo, connect, ports};

use crate::kubectl::Kubectl;
use crate::manifests::{PLATFORM_NAMESPACE, TENANTS};
use crate::programs::Programs;
use crate::wait::{Look, until};
use crate::{http, relay};

/// Operations per second: a stream that is live at every trouble. A short run is slow enough for all of them.
const RATE: u64 = 250;
const SLOW_RATE: u64 = 125;
const SHORT: u64 = 20_000;
/// How long a relay lives between two kills.
const RELAY_LIFE: std::ops::Range<u64> = 3_000..7_000;
/// The pause between two faults of StarRocks.
const BETWEEN_FAULTS: std::ops::Range<u64> = 700..2_500;
const MINUTE: Duration = Duration::from_secs(60);

/// What to do, and when: as a share of the operations that are done.
const TROUBLES: [(f64, Trouble); 7] = [
    (0.20, Trouble::ConnectEnded),
    (0.35, Trouble::TwoRelays(TENANTS[0])),
    (0.50, Trouble::KafkaRestarted),
    (0.60, Trouble::MongodbStepsDown),
    (0.70, Trouble::TwoRelays(TENANTS[1])),
    (0.80, Trouble::MongodbRestarted),
    (0.85, Trouble::KafkaRestarted),
];

/// A single trouble with one of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    ConnectEnded,
    /// A second relay of this tenant runs for some seconds, frozen for a part of them.
    TwoRelays(&'static str),
    KafkaRestarted,
    MongodbStepsDown,
    MongodbRestarted,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    pub operations: u64,
    pub seconds: f64,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Report {
    fn count(&self, what: impl Into<String>) {
        let mut counts = self
            .counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *counts.entry(what.into()).or_default() += 1;
    }

    fn counted(&self, what: &str) -> u64 {
        let counts = self
            .counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.get(what).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations in {:.0}s", self.operations, self.seconds)?;
        let counts = self
            .counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counts
            .iter()
            .try_for_each(|(what, times)| write!(f, ", {what} {times}x"))
    }
}

/// What the troublemakers share.
struct Chaos<'a> {
    info: &'a StageInfo,
    kubectl: &'a Kubectl,
    report: &'a Report,
    done: AtomicU64,
    over: AtomicBool,
}

/// Runs the workload with all troubles beside it. Afterwards every server is up again and nothing is ordered any more.
pub fn run(
    info: &StageInfo,
    kubectl: &Kubectl,
    programs: &Programs,
    operations: u64,
    seed: u64,
) -> Result<Report> {
    let mut report = Report {
        operations,
        ..Report::default()
    };
    let rate = if operations < SHORT { SLOW_RATE } else { RATE };
    let mut workload = programs.workload(operations, seed, rate)?;
    let chaos = Chaos {
        info,
        kubectl,
        report: &report,
        done: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let (seconds, outcomes) = thread::scope(|scope| {
        let troublemakers = [
            scope.spawn(|| chaos.kill_relays(&mut Random::new(seed, 1))),
            scope.spawn(|| chaos.fault_starrocks(&mut Random::new(seed, 2))),
            scope.spawn(|| chaos.trouble_servers(operations)),
        ];
        let mut seconds = Ok(0.0);
        loop {
            match workload.progress() {
                Ok(Some(progress)) => {
                    seconds = Ok(progress.seconds);
                    chaos.done.store(progress.operations, Ordering::SeqCst);
                }
                Ok(None) => break,
                Err(error) => {
                    seconds = Err(error);
                    break;
                }
            }
        }
        chaos.over.store(true, Ordering::SeqCst);
        let outcomes = troublemakers.map(|troublemaker| {
            troublemaker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a troublemaker panicked")))
        });
        (seconds, outcomes)
    });
    clear_starrocks(info)?;
    outcomes.into_iter().collect::<Result<()>>()?;
    report.seconds = seconds?;
    ensure!(
        report.counted("relay killed -9") > 0,
        "no relay was killed: the run proves nothing"
    );
    Ok(report)
}

impl Chaos<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Lets time pass, unless the workload ends first.
    fn pause(&self, wait: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < wait && !self.is_over() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whoever is alive is killed, ready or not, one tenant after the other.
    fn kill_relays(&self, random: &mut Random) -> Result<()> {
        let mut misses = 0;
        for tenant in TENANTS.iter().cycle() {
            self.pause(Duration::from_millis(
                random.within(RELAY_LIFE) / u64::try_from(TENANTS.len())?,
            ));
            if self.is_over() {
                return Ok(());
            }
            let killed = relay::pods(self.kubectl, tenant).and_then(|pods| {
                let pod = pods
                    .first()
                    .with_context(|| format!("no relay pod of {tenant}"))?;
                relay::kill(self.info, self.kubectl, pod)
            });
            match killed {
                Ok(()) => {
                    misses = 0;
                    self.report.count("relay killed -9");
                }
                // It was down at that moment.
                Err(error) => {
                    misses += 1;
                    ensure!(misses < 20, "relays cannot be killed: {error:#}");
                }
            }
        }
        Ok(())
    }

    fn fault_starrocks(&self, random: &mut Random) -> Result<()> {
        let Some(admin) = self.info.starrocks.as_ref().and_then(|s| s.admin_url.as_ref()) else {
            self.report.count("no faults of StarRocks: it is a real one");
            return Ok(());
        };
        let orders = faults();
        while !self.is_over() {
            let chosen = usize::try_from(random.below((orders.len() + NODES.len()) as u64))?;
            match orders.get(chosen) {
                Some(order) => {
                    let made = http::post(&format!("{admin}/faults"), order)?;
                    self.report.count("StarRocks faulted");
                    if order["count"].is_null() {
                        self.pause(Duration::from_secs(2));
                        http::delete(&format!("{admin}/faults/{}", made["id"]))?;
                    }
                }
                None => {
                    let (node, down) = NODES[chosen - orders.len()];
                    let node = format!("{admin}/{node}");
                    http::put(&node, &serde_json::from_str(down)?)?;
                    self.report.count("StarRocks node ended");
                    self.pause(Duration::from_secs(1));
                    http::put(&node, &json!({"up": true}))?;
                }
            }
            self.pause(Duration::from_millis(random.within(BETWEEN_FAULTS)));
        }
        Ok(())
    }

    fn trouble_servers(&self, operations: u64) -> Result<()> {
        for (share, trouble) in TROUBLES {
            // Operations are far fewer than 2^52.
            #[allow(clippy::cast_precision_loss)]
            while (self.done.load(Ordering::SeqCst) as f64) < share * operations as f64 {
                if self.is_over() {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(50));
            }
            self.trouble(trouble).with_context(|| format!("{trouble:?}"))?;
        }
        Ok(())
    }

    fn trouble(&self, trouble: Trouble) -> Result<()> {
        let own = |action, server: &str| control::order(&self.info.state_dir, action, server);
        match trouble {
            Trouble::KafkaRestarted => {
                own(Action::Restart, "kafka")?;
                self.report.count("Kafka restarted");
            }
            Trouble::ConnectEnded => {
                let selector = format!("app.kubernetes.io/name={}", connect::DEPLOYMENT);
                for container in relay::containers(self.kubectl, &selector)? {
                    // One that was killed is waited for as long as a session of Connect's group lasts: a minute, which a
                    // short run has not got.
                    let signal = if self.report.operations < SHORT {
                        "SIGTERM"
                    } else {
                        "SIGKILL"
                    };
                    relay::signal(self.info, &container, signal)?;
                    self.report.count(format!("Connect ended by {signal}"));
                }
            }
            Trouble::TwoRelays(tenant) => self.two_relays(tenant)?,
            Trouble::MongodbStepsDown => {
                if let Some(admin) = self.info.mongodb.as_ref().and_then(|m| m.admin_url.as_ref()) {
                    http::post(&format!("{admin}/faults/stepdown"), &json!({"seconds": 1.5}))?;
                    self.report.count("MongoDB stepped down");
                }
            }
            Trouble::MongodbRestarted => {
                if self.info.mongodb.as_ref().is_some_and(|m| m.stand_in) {
                    own(Action::Kill, "standin-mongodb")?;
                    own(Action::Start, "standin-mongodb")?;
                    self.report.count("MongoDB killed -9 and started");
                }
            }
        }
        Ok(())
    }

    fn two_relays(&self, tenant: &str) -> Result<()> {
        let name = format!("second-relay-{tenant}");
        let manifest = relay::twin(self.kubectl, tenant, &name, ports::free()?)?;
        self.kubectl.apply(&manifest.to_string())?;
        let container = until("a second relay runs", MINUTE, || {
            Ok(
                match relay::container_of(self.kubectl, PLATFORM_NAMESPACE, &name)? {
                    Some(container) => Look::There(container),
                    None => Look::NotYet("no container".to_owned()),
                },
            )
        })?;
        self.report.count("second relay");
        thread::sleep(Duration::from_secs(2));
        // One that was fenced has ended by now, which is as good.
        if relay::freeze(self.info, &container, true).is_ok() {
            self.report.count("second relay frozen");
            thread::sleep(Duration::from_secs(3));
            relay::freeze(self.info, &container, false)?;
            thread::sleep(Duration::from_secs(2));
        }
        let gone = ["--grace-period=0", "--force", "--ignore-not-found"];
        let args = [&["delete", "pod", &name, "-n", PLATFORM_NAMESPACE], &gone[..]].concat();
        self.kubectl.run(&args).map(drop)
    }
}

/// Processes of StarRocks that end and come back: a BE, one whose end FE has not noticed, an FE.
const NODES: [(&str, &str); 3] = [
    ("be/0", r#"{"up": false}"#),
    ("be/0", r#"{"up": false, "heartbeat": true}"#),
    ("fe/0", r#"{"up": false}"#),
];

/// Every fault that a load lives through; without `count` it stays until it is removed.
fn faults() -> Vec<Value> {
    [
        r#"{"kind": "slow_publish", "delay_ms": 1500, "count": 1}"#,
        r#"{"kind": "publish_timeout", "delay_ms": 2000, "count": 1}"#,
        r#"{"kind": "commit_then_drop", "count": 1}"#,
        r#"{"kind": "commit_then_fail", "count": 1}"#,
        r#"{"kind": "late_commit", "delay_ms": 3000, "count": 1}"#,
        r#"{"kind": "too_many_versions", "count": 2}"#,
        r#"{"kind": "no_backend_alive", "count": 2}"#,
        r#"{"kind": "fe_error", "status": 503, "count": 2}"#,
        r#"{"kind": "be_error", "status": 500, "count": 1}"#,
        r#"{"kind": "slow_body", "delay_ms": 20, "count": 1}"#,
        r#"{"kind": "running_txns", "count": 1}"#,
        r#"{"kind": "stale_read", "delay_ms": 1000, "count": 3}"#,
        r#"{"kind": "hold_prepare"}"#,
    ]
    .iter()
    .map(|text| serde_json::from_str(text).unwrap_or_default())
    .collect()
}

fn clear_starrocks(info: &StageInfo) -> Result<()> {
    match info.starrocks.as_ref().and_then(|s| s.admin_url.as_ref()) {
        Some(admin) => http::delete(&format!("{admin}/faults")),
        None => Ok(()),
    }
}

/// SplitMix64: enough to choose among troubles, the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_orders_the_same_troubles() {
        let draw = |seed| {
            let mut random = Random::new(seed, 2);
            (0..20).map(|_| random.below(13)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(faults().iter().all(|order| order["kind"].is_string()));
        assert!(TROUBLES.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
