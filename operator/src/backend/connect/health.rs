//! Whether a connector does its work. Pure: status, offsets and heartbeat in, one reason and one sentence out.
//!
//! Connect reports RUNNING while a connector is dead, so the verdict comes from progress: whether the newer of the newest
//! heartbeat record and the time inside the committed resume token *moves*. How old either is says nothing: clocks differ.

use std::time::{Duration, SystemTime};

use super::connector::{HEARTBEAT_INTERVAL, SnapshotMode};
use super::model::{ConnectorState, ConnectorStatus};
use super::offsets::SourceOffset;
use super::trace;

/// RUNNING without progress for this long is a stall (debezium-mongodb.md §3.2).
pub const STALL: Duration = Duration::from_secs(60);
/// RUNNING without any task for this long is a standby that needs a restart.
pub const NO_TASK: Duration = Duration::from_secs(30);

/// Reason of the condition `ConnectorReady`, as far as Connect's answers decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectorReason {
    Streaming,
    Snapshotting,
    Stopped,
    Creating,
    NoTaskAssigned,
    TaskFailed,
    NoProgress,
    SourceUnreachable,
    AuthenticationFailed,
    ResumeTokenLost,
    OversizeEvent,
    ConfigInvalid,
}

impl ConnectorReason {
    /// Whether `ConnectorReady` is True with this reason; `Stopped` is, when it was asked for.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Streaming | Self::Snapshotting | Self::Stopped)
    }
}

/// What the operator may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Nothing is wrong, or time will tell.
    None,
    /// Restart failed tasks, with a capped and jittered backoff.
    RestartFailed,
    /// Restart connector and tasks, with the same backoff: they say RUNNING and do nothing.
    Restart,
    /// A restart meets the same again until somebody mends it, perhaps where the operator cannot see it: retried now and then.
    Rarely,
    /// Never restarted: every restart would hide what was lost. Stopped until a person decides.
    Hold,
}

/// Progress of the initial snapshot, read from the committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotState {
    /// `snapshot.mode: NoData`.
    Skipped,
    Running,
    Complete,
}

/// Everything the verdict depends on.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// `None`: Connect has no status yet.
    pub status: Option<&'a ConnectorStatus>,
    /// `None`: nothing committed yet.
    pub offset: Option<&'a SourceOffset>,
    /// Whether the pipeline wants the connector stopped.
    pub want_stopped: bool,
    pub snapshot: SnapshotMode,
    /// How long the connector has been seen in its present state: old progress is no stall right after a resume.
    pub in_state_for: Duration,
    /// How long the newest proof of progress has been the same one; zero while Kafka cannot be asked.
    pub unmoved_for: Duration,
    /// The connector carries the mark of lost history.
    pub held: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub reason: ConnectorReason,
    pub message: String,
    pub remedy: Remedy,
    pub snapshot: SnapshotState,
}

/// The newest proof of progress; `None` before the first.
pub fn progress(offset: Option<&SourceOffset>, heartbeat: Option<SystemTime>) -> Option<SystemTime> {
    let token_time = offset.and_then(|s| s.position).map(|p| p.time());
    [heartbeat, token_time].into_iter().flatten().max()
}

/// The verdict.
pub fn assess(o: &Observation<'_>) -> Assessment {
    let snapshot = snapshot_state(o);
    let (reason, message, remedy) = verdict(o, snapshot);
    Assessment {
        reason,
        message,
        remedy,
        snapshot,
    }
}

/// No offset yet, or one with Debezium's `initsync`, means that the snapshot has not ended. With exactly-once the offset
/// commits with the records; heartbeats commit one for empty collections too.
fn snapshot_state(o: &Observation<'_>) -> SnapshotState {
    match (o.snapshot, o.offset) {
        (SnapshotMode::NoData, _) => SnapshotState::Skipped,
        (SnapshotMode::Initial, Some(offset)) if !offset.initial_snapshot => SnapshotState::Complete,
        (SnapshotMode::Initial, _) => SnapshotState::Running,
    }
}

/// Said of a held connector whether it is being stopped or stands still: the same words until somebody decides.
pub const HELD: &str = "The source no longer holds the change history from the stored position on: changes are lost, the connector is stopped and stays so (onHistoryLost: Hold). To go on with the gap, delete the connector's offsets in Kafka Connect (DELETE /connectors/<name>/offsets): it then starts with a new snapshot. Rows whose documents were deleted meanwhile stay until somebody removes them.";

type Verdict = (ConnectorReason, String, Remedy);

fn verdict(o: &Observation<'_>, snapshot: SnapshotState) -> Verdict {
    if o.held {
        return say(ConnectorReason::ResumeTokenLost, HELD, Remedy::Hold);
    }
    let Some(status) = o.status else {
        return say(
            ConnectorReason::Creating,
            "Kafka Connect has no status of the connector yet.",
            Remedy::None,
        );
    };
    if let Some(trace) = failure(status) {
        return trace::classify(trace);
    }
    match status.connector.state {
        ConnectorState::Stopped | ConnectorState::Paused if o.want_stopped => say(
            ConnectorReason::Stopped,
            "The connector is stopped, as asked.",
            Remedy::None,
        ),
        ConnectorState::Running if o.want_stopped => say(
            ConnectorReason::Creating,
            "The connector is still running; it was asked to stop.",
            Remedy::None,
        ),
        ConnectorState::Running => running(o, status, snapshot),
        ConnectorState::Stopped | ConnectorState::Paused => say(
            ConnectorReason::Creating,
            "The connector is stopped and is being started.",
            Remedy::None,
        ),
        state => say(
            ConnectorReason::Creating,
            &format!("The connector is {}.", state_word(state)),
            Remedy::None,
        ),
    }
}

fn running(o: &Observation<'_>, status: &ConnectorStatus, snapshot: SnapshotState) -> Verdict {
    let Some(task) = status.tasks.first() else {
        if o.in_state_for < NO_TASK {
            return say(
                ConnectorReason::Creating,
                "The connector runs; its task is not started yet.",
                Remedy::None,
            );
        }
        let text = format!(
            "The connector has been without a task for more than {} s.",
            NO_TASK.as_secs()
        );
        return say(ConnectorReason::NoTaskAssigned, &text, Remedy::Restart);
    };
    if task.state != ConnectorState::Running {
        // Connect waits scheduled.rebalance.max.delay.ms (5 min) before it moves a lost worker's tasks.
        let text = format!("Task 0 is {}.", state_word(task.state));
        return match task.state {
            ConnectorState::Unassigned if o.in_state_for >= NO_TASK => {
                say(ConnectorReason::NoTaskAssigned, &text, Remedy::None)
            }
            _ => say(ConnectorReason::Creating, &text, Remedy::None),
        };
    }
    match snapshot {
        // A snapshot writes no heartbeats while it reads: its end is the proof.
        SnapshotState::Running => say(
            ConnectorReason::Snapshotting,
            "The initial snapshot is running.",
            Remedy::None,
        ),
        _ if o.unmoved_for > STALL && o.in_state_for > STALL => say(
            ConnectorReason::NoProgress,
            &format!(
                "The task says RUNNING but has shown neither a heartbeat (one per {} s) nor a newer source position for more than {} s: the source does not answer, or refuses the stream.",
                HEARTBEAT_INTERVAL.as_secs(),
                STALL.as_secs()
            ),
            Remedy::Restart,
        ),
        _ => say(
            ConnectorReason::Streaming,
            "The connector streams changes.",
            Remedy::None,
        ),
    }
}

fn state_word(state: ConnectorState) -> &'static str {
    match state {
        ConnectorState::Unassigned => "unassigned",
        ConnectorState::Running => "running",
        ConnectorState::Paused => "paused",
        ConnectorState::Stopped => "stopped",
        ConnectorState::Failed => "failed",
        ConnectorState::Restarting => "restarting",
        ConnectorState::Destroyed => "being deleted",
        ConnectorState::Unknown => "in a state this version does not know",
    }
}

/// Trace of the connector or its first failed task; empty when Connect gives none.
fn failure(status: &ConnectorStatus) -> Option<&str> {
    let connector = (status.connector.state == ConnectorState::Failed)
        .then_some(status.connector.trace.as_deref().unwrap_or_default());
    let mut failed = status.tasks.iter().filter(|t| t.state == ConnectorState::Failed);
    let task = failed.next().map(|t| t.trace.as_deref().unwrap_or_default());
    task.or(connector)
}

fn say(reason: ConnectorReason, message: &str, remedy: Remedy) -> Verdict {
    (reason, message.to_owned(), remedy)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
