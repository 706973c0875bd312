//! Whether a connector does its work. Pure: status, offsets and heartbeat in, one reason and one sentence out.
//!
//! Connect reports RUNNING while a connector is dead, so the verdict comes from progress: the newer of the newest
//! heartbeat record and the time inside the committed resume token.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use regex::Regex;

use super::connector::{HEARTBEAT_INTERVAL, SnapshotMode};
use super::model::{ConnectorState, ConnectorStatus};
use super::offsets::SourceOffset;

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
    /// Restart connector and tasks once: they say RUNNING and do nothing.
    Restart,
    /// No retry can help without a change by somebody.
    Operator,
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
    /// Time of the newest heartbeat record.
    pub heartbeat: Option<SystemTime>,
    /// Whether the pipeline wants the connector stopped.
    pub want_stopped: bool,
    pub snapshot: SnapshotMode,
    /// How long the connector has been seen in its present state: old progress is no stall right after a resume.
    pub in_state_for: Duration,
    pub now: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub reason: ConnectorReason,
    pub message: String,
    pub remedy: Remedy,
    pub snapshot: SnapshotState,
    /// Newest proof of progress; `None` before the first.
    pub progress: Option<SystemTime>,
}

/// The verdict.
pub fn assess(o: &Observation<'_>) -> Assessment {
    let token_time = o.offset.and_then(|s| s.position).map(|p| p.time());
    let progress = [o.heartbeat, token_time].into_iter().flatten().max();
    let snapshot = snapshot_state(o);
    let (reason, message, remedy) = verdict(o, snapshot, progress);
    Assessment {
        reason,
        message,
        remedy,
        snapshot,
        progress,
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

type Verdict = (ConnectorReason, String, Remedy);

fn verdict(o: &Observation<'_>, snapshot: SnapshotState, progress: Option<SystemTime>) -> Verdict {
    let Some(status) = o.status else {
        return say(
            ConnectorReason::Creating,
            "Kafka Connect has no status of the connector yet.",
            Remedy::None,
        );
    };
    if let Some(trace) = failure(status) {
        return classify_trace(trace);
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
        ConnectorState::Running => running(o, status, snapshot, progress),
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

fn running(
    o: &Observation<'_>,
    status: &ConnectorStatus,
    snapshot: SnapshotState,
    progress: Option<SystemTime>,
) -> Verdict {
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
    let behind = progress.is_none_or(|t| o.now.duration_since(t).unwrap_or_default() > STALL);
    match snapshot {
        // A snapshot writes no heartbeats while it reads: its end is the proof.
        SnapshotState::Running => say(
            ConnectorReason::Snapshotting,
            "The initial snapshot is running.",
            Remedy::None,
        ),
        _ if behind && o.in_state_for > STALL => say(
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

/// A known pattern in a stack trace. First match wins: the specific before the general.
struct TraceRule {
    pattern: Regex,
    reason: ConnectorReason,
    remedy: Remedy,
    says: &'static str,
}

static TRACE_RULES: LazyLock<Vec<TraceRule>> = LazyLock::new(|| {
    use ConnectorReason as R;
    [
        (r"no longer available on the server|ChangeStreamHistoryLost|error (?:286|260)\b", R::ResumeTokenLost, Remedy::Operator,
         "The source no longer holds the change history from the stored position on: changes are lost. A new snapshot needs a person: stop the connector, delete its offsets in Kafka Connect, resume it."),
        (r"previously stopped while taking a snapshot", R::ConfigInvalid, Remedy::Operator,
         "The snapshot was interrupted and the snapshot mode does not allow another: set snapshot.mode to Initial or delete the connector's offsets."),
        (r"BSONObjectTooLarge|\b10334\b", R::OversizeEvent, Remedy::Operator,
         "A change event is larger than MongoDB's 16 MiB limit: drop pre-images (capture: UpdateFull) or make the document smaller."),
        (r"RecordTooLargeException", R::OversizeEvent, Remedy::Operator,
         "An event is larger than the topic or the producer allows: raise max.message.bytes."),
        (r"error 13 \(Unauthorized\)|error 18\b|Exception authenticating|MongoSecurityException", R::AuthenticationFailed, Remedy::Operator,
         "The source refuses the credentials or the user may not read the change stream."),
        (r"Replica set not specified|reports wire version|UnknownHostException.*Config|ConfigException", R::ConfigInvalid, Remedy::Operator,
         "The source or the connection string does not fit (a replica set from MongoDB 4.2 on and replicaSet=… in the URI are needed)."),
        (r"MongoTimeoutException|MongoSocket", R::SourceUnreachable, Remedy::RestartFailed,
         "The source cannot be reached; the task is restarted with a growing pause."),
        (r"Tolerance exceeded in error handler|DataException", R::TaskFailed, Remedy::Operator,
         "A record could not be converted; a restart would meet it again."),
    ]
    .into_iter()
    .filter_map(|(pattern, reason, remedy, says)| {
        Some(TraceRule { pattern: Regex::new(pattern).ok()?, reason, remedy, says })
    })
    .collect()
});

fn classify_trace(trace: &str) -> Verdict {
    if let Some(rule) = TRACE_RULES.iter().find(|r| r.pattern.is_match(trace)) {
        let text = match root_cause(trace) {
            Some(cause) => format!("{} ({cause})", rule.says),
            None => rule.says.to_owned(),
        };
        return say(rule.reason, &text, rule.remedy);
    }
    let text = match root_cause(trace) {
        Some(cause) => format!("The task failed: {cause}"),
        None => "The task failed without a trace.".to_owned(),
    };
    say(ConnectorReason::TaskFailed, &text, Remedy::RestartFailed)
}

/// The innermost `Caused by:` (else the first line), without the stack and the package name.
fn root_cause(trace: &str) -> Option<String> {
    let cause = trace.rsplit("Caused by: ").next()?.lines().next()?.trim();
    let (class, text) = cause.split_once(':').unwrap_or((cause, ""));
    let class = class.rsplit('.').next().unwrap_or(class).trim();
    let short: String = text.trim().chars().take(200).collect();
    match (class.is_empty(), short.is_empty()) {
        (true, true) => None,
        (_, true) => Some(class.chars().take(200).collect()),
        _ => Some(format!("{class}: {short}")),
    }
}

fn say(reason: ConnectorReason, message: &str, remedy: Remedy) -> Verdict {
    (reason, message.to_owned(), remedy)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
