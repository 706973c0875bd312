//! What a pipeline's reconciler remembers between turns. Nothing here is needed to be right, only to be calm: after a restart
//! it is rebuilt from the status and from new observations.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::freshness::Freshness;
use crate::backend::connect::ConnectorState;
use crate::context::lock;

#[derive(Default)]
pub struct Memory(Mutex<HashMap<(String, String), PipelineMemory>>);

/// One pipeline's memory; taken for a turn and put back at its end (turns of one object never overlap).
#[derive(Debug, Default)]
pub struct PipelineMemory {
    /// `None` until the first turn after a restart filled it from the status.
    pub freshness: Option<Freshness>,
    pub connector: ConnectorMemory,
    /// Last measurement-driven change of a condition, which happens at most once per 30 s.
    pub measured_change: Option<Timestamp>,
}

/// State of connector and first task, and what was tried on them.
#[derive(Debug, Default)]
pub struct ConnectorMemory {
    state: Option<(ConnectorState, Option<ConnectorState>)>,
    since: Option<Instant>,
    restarts: u32,
    next_restart: Option<Instant>,
    /// Digest of a configuration and what Connect said to it when it was last validated.
    pub refused: Option<Refusal>,
}

/// A configuration that Connect refused: asked again only when it changes or after a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub digest: String,
    pub message: String,
    pub source_unreachable: bool,
    pub retry_at: Instant,
    pub attempts: u32,
}

impl ConnectorMemory {
    /// Notes the state seen now; answers for how long it has been seen.
    pub fn seen(&mut self, state: (ConnectorState, Option<ConnectorState>), now: Instant) -> Duration {
        if self.state != Some(state) {
            self.state = Some(state);
            self.since = Some(now);
        }
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether a restart is due; counts it if so. The pause doubles from 10 s to 5 min.
    pub fn restart_due(&mut self, now: Instant) -> bool {
        if self.next_restart.is_some_and(|at| now < at) {
            return false;
        }
        self.next_restart = Some(now + doubling(Duration::from_secs(10), self.restarts));
        self.restarts = self.restarts.saturating_add(1);
        true
    }

    /// The connector does its work: the next failure starts with a short pause again.
    pub fn healthy(&mut self) {
        self.restarts = 0;
        self.next_restart = None;
    }

    /// Notes a refused configuration.
    pub fn refuse(&mut self, digest: String, message: String, source_unreachable: bool, now: Instant) {
        let attempts = match &self.refused {
            Some(last) if last.digest == digest => last.attempts.saturating_add(1),
            _ => 0,
        };
        // Never longer than 30 s: a Secret volume follows within a minute or so, and people wait for the first row.
        let retry_at = now + doubling(Duration::from_secs(3), attempts).min(Duration::from_secs(30));
        self.refused = Some(Refusal {
            digest,
            message,
            source_unreachable,
            retry_at,
            attempts,
        });
    }
}

fn doubling(first: Duration, attempts: u32) -> Duration {
    const CEILING: Duration = Duration::from_secs(300);
    crate::error::jittered(first.saturating_mul(1 << attempts.min(8)).min(CEILING))
}

impl Memory {
    pub fn take(&self, namespace: &str, name: &str) -> PipelineMemory {
        lock(&self.0)
            .remove(&(namespace.to_owned(), name.to_owned()))
            .unwrap_or_default()
    }

    pub fn put(&self, namespace: &str, name: &str, memory: PipelineMemory) {
        lock(&self.0).insert((namespace.to_owned(), name.to_owned()), memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_paced() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        assert!(memory.restart_due(t0));
        assert!(!memory.restart_due(t0 + Duration::from_secs(5)));
        assert!(memory.restart_due(t0 + Duration::from_secs(12)));
        assert!(!memory.restart_due(t0 + Duration::from_secs(20)));
        memory.healthy();
        assert!(memory.restart_due(t0 + Duration::from_secs(20)));
    }

    #[test]
    fn a_state_is_timed_from_when_it_was_first_seen() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        let running = (ConnectorState::Running, None);
        assert_eq!(memory.seen(running, t0), Duration::ZERO);
        assert_eq!(
            memory.seen(running, t0 + Duration::from_secs(7)),
            Duration::from_secs(7)
        );
        let other = (ConnectorState::Running, Some(ConnectorState::Running));
        assert_eq!(memory.seen(other, t0 + Duration::from_secs(8)), Duration::ZERO);
    }
}
