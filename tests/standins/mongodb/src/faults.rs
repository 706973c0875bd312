//! Faults on demand: errors, dropped connections, latency and outages, each for as long as it was asked for.
//!
//! Rules are looked up before a command runs, by its name. A rule without a name spares the handshake, so that a
//! driver's monitor does not use it up.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::{changestream::MAX_EVENT_BYTES, error::CommandError};

const HANDSHAKE: [&str; 4] = ["hello", "isMaster", "ismaster", "endSessions"];

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub command: Option<String>,
    pub code: i32,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub labels: Vec<String>,
    #[serde(default = "once")]
    pub times: u32,
}

/// When a doomed connection is cut: the second leaves the client not knowing whether its command took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    #[default]
    BeforeExecution,
    AfterExecution,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropRule {
    pub command: Option<String>,
    #[serde(default)]
    pub when: Cut,
    #[serde(default = "once")]
    pub times: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRule {
    pub command: Option<String>,
    pub millis: u64,
    /// How many commands are slowed; all of them when left out.
    pub times: Option<u32>,
}

fn once() -> u32 {
    1
}

/// Which connections an immediate drop concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    All,
    ChangeStreams,
}

/// What is to happen to one command.
#[derive(Debug, Default)]
pub struct Verdict {
    pub delay: Duration,
    pub error: Option<CommandError>,
    pub cut: Option<Cut>,
}

pub struct Faults {
    rules: Mutex<Rules>,
    refuse: AtomicBool,
    event_limit: AtomicUsize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rules: Mutex::default(),
            refuse: AtomicBool::default(),
            event_limit: AtomicUsize::new(MAX_EVENT_BYTES),
        }
    }
}

#[derive(Debug, Default, Clone, Serialize)]
pub struct Rules {
    pub errors: Vec<ErrorRule>,
    pub drops: Vec<DropRule>,
    pub latency: Vec<LatencyRule>,
}

fn applies(rule: Option<&String>, command: &str) -> bool {
    rule.map_or(!HANDSHAKE.contains(&command), |name| name == command)
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add_error(&self, rule: ErrorRule) {
        self.rules().errors.push(rule);
    }

    pub fn add_drop(&self, rule: DropRule) {
        self.rules().drops.push(rule);
    }

    pub fn add_latency(&self, rule: LatencyRule) {
        self.rules().latency.push(rule);
    }

    /// An outage: new connections are accepted and closed at once.
    pub fn refuse_connections(&self, refuse: bool) {
        self.refuse.store(refuse, Ordering::SeqCst);
    }

    pub fn refuses_connections(&self) -> bool {
        self.refuse.load(Ordering::SeqCst)
    }

    /// Change streams fail at an event beyond this size, as at one beyond 16 MB.
    pub fn limit_events(&self, bytes: usize) {
        self.event_limit.store(bytes, Ordering::SeqCst);
    }

    pub fn event_limit(&self) -> usize {
        self.event_limit.load(Ordering::SeqCst)
    }

    pub fn clear(&self) {
        *self.rules() = Rules::default();
        self.limit_events(MAX_EVENT_BYTES);
        self.refuse_connections(false);
    }

    pub fn pending(&self) -> Rules {
        self.rules().clone()
    }

    /// Decides about one command and uses up the rules that did.
    pub fn judge(&self, command: &str) -> Verdict {
        let mut rules = self.rules();
        let mut verdict = Verdict::default();
        if let Some(rule) = rules
            .latency
            .iter_mut()
            .find(|r| applies(r.command.as_ref(), command))
        {
            verdict.delay = Duration::from_millis(rule.millis);
            rule.times = rule.times.map(|n| n.saturating_sub(1));
        }
        if let Some(rule) = rules
            .errors
            .iter_mut()
            .find(|r| applies(r.command.as_ref(), command))
        {
            rule.times = rule.times.saturating_sub(1);
            verdict.error = Some(CommandError::from_number(
                rule.code,
                rule.message.clone(),
                rule.labels.clone(),
            ));
        } else if let Some(rule) = rules
            .drops
            .iter_mut()
            .find(|r| applies(r.command.as_ref(), command))
        {
            rule.times = rule.times.saturating_sub(1);
            verdict.cut = Some(rule.when);
        }
        rules.errors.retain(|r| r.times > 0);
        rules.drops.retain(|r| r.times > 0);
        rules.latency.retain(|r| r.times != Some(0));
        verdict
    }
}

/// The open client connections, so that they can be cut.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<u64, Connection>>);

struct Connection {
    task: AbortHandle,
    streams: Arc<AtomicBool>,
}

impl Connections {
    fn map(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, id: u64, task: AbortHandle, streams: Arc<AtomicBool>) {
        let mut map = self.map();
        map.retain(|_, c| !c.task.is_finished());
        map.insert(id, Connection { task, streams });
    }

    pub fn remove(&self, id: u64) {
        self.map().remove(&id);
    }

    pub fn count(&self) -> usize {
        self.map().len()
    }

    /// Cuts them now; a command that is running is not finished, one that has run is not answered.
    pub fn cut(&self, scope: Scope) -> usize {
        let mut map = self.map();
        let before = map.len();
        map.retain(|_, c| {
            let doomed = scope == Scope::All || c.streams.load(Ordering::SeqCst);
            if doomed {
                c.task.abort();
            }
            !doomed
        });
        before - map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(command: Option<&str>, times: u32) -> ErrorRule {
        ErrorRule {
            command: command.map(str::to_owned),
            code: 286,
            message: "lost".into(),
            labels: vec![],
            times,
        }
    }

    #[test]
    fn a_rule_is_used_up() {
        let faults = Faults::default();
        faults.add_error(error(Some("getMore"), 2));
        assert!(faults.judge("find").error.is_none());
        let told = faults.judge("getMore").error.unwrap();
        assert_eq!((told.code, told.name.as_str()), (286, "ChangeStreamHistoryLost"));
        assert!(faults.judge("getMore").error.is_some() && faults.judge("getMore").error.is_none());
    }

    #[test]
    fn a_rule_for_everything_spares_the_handshake() {
        let faults = Faults::default();
        faults.add_drop(DropRule {
            command: None,
            when: Cut::AfterExecution,
            times: 1,
        });
        assert!(faults.judge("hello").cut.is_none());
        assert_eq!(faults.judge("insert").cut, Some(Cut::AfterExecution));
    }

    #[test]
    fn latency_without_a_count_stays_until_cleared() {
        let faults = Faults::default();
        faults.add_latency(LatencyRule {
            command: None,
            millis: 5,
            times: None,
        });
        assert!((0..3).all(|_| faults.judge("find").delay == Duration::from_millis(5)));
        faults.clear();
        assert_eq!(faults.judge("find").delay, Duration::ZERO);
    }
}
