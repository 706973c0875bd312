//! What a pipeline's reconciler remembers between turns. Nothing here is needed to be right, only to be calm: after a restart
//! it is rebuilt from the status and from new observations.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::freshness::Freshness;
use crate::backend::connect::connector::ExactlyOnce;
use crate::backend::connect::health::STALL;
use crate::backend::connect::{ConnectorState, SourceOffset};
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
    /// Whether the previous status has been taken up.
    resumed: bool,
    state: Option<(ConnectorState, Option<ConnectorState>)>,
    since: Option<Instant>,
    /// The newest proof of progress and when it was first seen.
    progress: Option<(Option<SystemTime>, Instant)>,
    /// Since when a status said that it makes none, until something is seen.
    suspect_since: Option<Instant>,
    restarts: u32,
    next_restart: Option<Instant>,
    /// Lost history was seen and the mark is not on the connector yet.
    pub held: bool,
    /// Until when the workers count as without exactly-once.
    at_least_once_until: Option<Instant>,
    /// The last offset that was read, while it says that the snapshot is complete.
    pub complete: Option<SourceOffset>,
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

    /// Takes up what a status showed before this process started: a connector that made no progress then is not healthy because
    /// nobody has watched it yet.
    pub fn resume(
        &mut self,
        restarts: Option<i32>,
        no_progress: bool,
        state: (ConnectorState, Option<ConnectorState>),
        now: Instant,
    ) {
        if std::mem::replace(&mut self.resumed, true) {
            return;
        }
        self.restarts = restarts.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        if no_progress {
            let long_ago = now.checked_sub(STALL * 2).unwrap_or(now);
            self.state = Some(state);
            self.since = Some(long_ago);
            self.suspect_since = Some(long_ago);
        }
    }

    /// Notes the newest proof of progress; answers for how long it has been the same. `None`: nobody could be asked.
    pub fn unmoved(&mut self, progress: Option<Option<SystemTime>>, now: Instant) -> Duration {
        let Some(seen) = progress else {
            // Time in which nobody could look is no time without progress.
            self.progress = None;
            return Duration::ZERO;
        };
        match self.progress {
            Some((last, since)) if last == seen => now.saturating_duration_since(since),
            _ => {
                // What a restarted operator sees first proves nothing either way: the clock goes on.
                let since = self.suspect_since.take().unwrap_or(now);
                self.progress = Some((seen, since));
                now.saturating_duration_since(since)
            }
        }
    }

    /// Restarts in a row.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether a restart is due; counts it if so. The pause doubles from 10 s to 5 min, or is half an hour for what a restart
    /// alone cannot heal, the first one included.
    pub fn restart_due(&mut self, pace: Pace, now: Instant) -> bool {
        let pause = match pace {
            Pace::Growing => doubling(Duration::from_secs(10), self.restarts),
            Pace::Rare => crate::error::jittered(RARE_PAUSE),
        };
        if pace == Pace::Rare && self.next_restart.is_none() {
            self.next_restart = Some(now + pause);
            return false;
        }
        if self.next_restart.is_some_and(|at| now < at) {
            return false;
        }
        self.next_restart = Some(now + pause);
        self.restarts = self.restarts.saturating_add(1);
        true
    }

    /// The connector does its work, for so long now: after a while the next failure starts with a short pause again.
    pub fn healthy(&mut self, for_long: Duration) {
        if for_long >= HEALED {
            self.restarts = 0;
            self.next_restart = None;
        }
    }

    /// What exactly-once to ask for: the most, but for a while after the workers said that they cannot.
    pub fn exactly_once(&mut self, now: Instant) -> ExactlyOnce {
        if self.at_least_once_until.is_some_and(|until| now < until) {
            ExactlyOnce::Requested
        } else {
            self.at_least_once_until = None;
            ExactlyOnce::Required
        }
    }

    /// The workers lack exactly-once; asked again after a while.
    pub fn without_exactly_once(&mut self, now: Instant) {
        self.at_least_once_until = Some(now + crate::error::jittered(ASK_AGAIN));
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

/// How the pauses between restarts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Growing,
    Rare,
}

/// A connector that works for this long has healed.
const HEALED: Duration = Duration::from_secs(120);
const RARE_PAUSE: Duration = Duration::from_secs(1800);
/// How long workers without exactly-once are believed to stay so.
const ASK_AGAIN: Duration = Duration::from_secs(600);

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

    /// The offset with which the initial snapshot was found complete, if it was.
    pub fn complete(&self, namespace: &str, name: &str) -> Option<SourceOffset> {
        let memories = lock(&self.0);
        let memory = memories.get(&(namespace.to_owned(), name.to_owned()))?;
        memory.connector.complete.clone()
    }

    pub fn put(&self, namespace: &str, name: &str, memory: PipelineMemory) {
        lock(&self.0).insert((namespace.to_owned(), name.to_owned()), memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_paced_and_counted_until_it_has_worked_for_a_while() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        assert!(memory.restart_due(Pace::Growing, t0));
        assert!(!memory.restart_due(Pace::Growing, at(5)));
        assert!(memory.restart_due(Pace::Growing, at(12)));
        assert!(!memory.restart_due(Pace::Growing, at(20)));
        // It ran for some seconds: no reason to hammer.
        memory.healthy(Duration::from_secs(10));
        assert!(!memory.restart_due(Pace::Growing, at(25)));
        assert_eq!(memory.restarts(), 2);
        memory.healthy(HEALED);
        assert!(memory.restart_due(Pace::Growing, at(26)));
        assert_eq!(memory.restarts(), 1);
    }

    #[test]
    fn the_pause_is_bounded() {
        let mut memory = ConnectorMemory::default();
        let mut now = Instant::now();
        for _ in 0..40 {
            assert!(memory.restart_due(Pace::Growing, now));
            now += Duration::from_secs(331);
        }
    }

    #[test]
    fn what_a_restart_cannot_heal_is_tried_rarely() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        assert!(!memory.restart_due(Pace::Rare, t0));
        assert!(!memory.restart_due(Pace::Rare, t0 + Duration::from_secs(1500)));
        assert!(memory.restart_due(Pace::Rare, t0 + Duration::from_secs(2000)));
    }

    #[test]
    fn only_movement_is_progress_and_an_outage_is_not_held_against_it() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let beat = |seconds| Some(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(memory.unmoved(beat(1), t0), Duration::ZERO);
        assert_eq!(memory.unmoved(beat(1), at(70)), Duration::from_secs(70));
        assert_eq!(memory.unmoved(beat(6), at(75)), Duration::ZERO);
        assert_eq!(memory.unmoved(None, at(200)), Duration::ZERO);
        assert_eq!(memory.unmoved(beat(6), at(205)), Duration::ZERO);
        // A restarted operator goes on where the status left off.
        let mut restarted = ConnectorMemory::default();
        restarted.resume(Some(3), true, (ConnectorState::Running, None), t0);
        assert!(restarted.unmoved(beat(6), t0) > STALL);
        assert_eq!(restarted.unmoved(beat(11), at(5)), Duration::ZERO);
        assert_eq!(restarted.restarts(), 3);
    }

    #[test]
    fn exactly_once_is_asked_for_again() {
        let mut memory = ConnectorMemory::default();
        let t0 = Instant::now();
        assert_eq!(memory.exactly_once(t0), ExactlyOnce::Required);
        memory.without_exactly_once(t0);
        assert_eq!(
            memory.exactly_once(t0 + Duration::from_secs(60)),
            ExactlyOnce::Requested
        );
        assert_eq!(memory.exactly_once(t0 + ASK_AGAIN * 2), ExactlyOnce::Required);
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
