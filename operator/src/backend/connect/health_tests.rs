use super::super::model::{InstanceStatus, TaskStatus};
use super::super::offsets::SourcePosition;
use super::*;

fn status(connector: ConnectorState, task: Option<(ConnectorState, Option<&str>)>) -> ConnectorStatus {
    ConnectorStatus {
        name: "x".into(),
        connector: InstanceStatus {
            state: connector,
            worker_id: "w".into(),
            trace: None,
        },
        tasks: task
            .into_iter()
            .map(|(state, trace)| TaskStatus {
                id: 0,
                state,
                worker_id: "w".into(),
                trace: trace.map(str::to_owned),
            })
            .collect(),
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn observed<'a>(status: &'a ConnectorStatus, offset: Option<&'a SourceOffset>) -> Observation<'a> {
    Observation {
        status: Some(status),
        offset,
        heartbeat: None,
        want_stopped: false,
        snapshot: SnapshotMode::Initial,
        in_state_for: Duration::from_secs(600),
        now: now(),
    }
}

fn offset(age: u32, initial_snapshot: bool) -> SourceOffset {
    SourceOffset {
        initial_snapshot,
        position: Some(SourcePosition {
            seconds: 1_800_000_000 - age,
            increment: 1,
        }),
    }
}

#[test]
fn every_trace_rule_compiles() {
    assert_eq!(TRACE_RULES.len(), 8);
}

#[test]
fn running_counts_only_with_progress() {
    let running = status(ConnectorState::Running, Some((ConnectorState::Running, None)));
    let fresh = offset(3, false);
    assert_eq!(
        assess(&observed(&running, Some(&fresh))).reason,
        ConnectorReason::Streaming
    );

    let stale = offset(500, false);
    let dead = assess(&observed(&running, Some(&stale)));
    assert_eq!(
        (dead.reason, dead.remedy),
        (ConnectorReason::NoProgress, Remedy::Restart)
    );

    let mut beating = observed(&running, Some(&stale));
    beating.heartbeat = Some(now() - Duration::from_secs(4));
    assert_eq!(assess(&beating).reason, ConnectorReason::Streaming);

    let mut resumed = observed(&running, Some(&stale));
    resumed.in_state_for = Duration::from_secs(5);
    assert_eq!(assess(&resumed).reason, ConnectorReason::Streaming);
}

#[test]
fn the_snapshot_ends_with_an_offset_that_says_so() {
    let running = status(ConnectorState::Running, Some((ConnectorState::Running, None)));
    assert_eq!(assess(&observed(&running, None)).snapshot, SnapshotState::Running);
    let reading = offset(500, true);
    let a = assess(&observed(&running, Some(&reading)));
    assert_eq!(
        (a.reason, a.snapshot),
        (ConnectorReason::Snapshotting, SnapshotState::Running)
    );
    let done = offset(1, false);
    assert_eq!(
        assess(&observed(&running, Some(&done))).snapshot,
        SnapshotState::Complete
    );
    let mut skipped = observed(&running, None);
    skipped.snapshot = SnapshotMode::NoData;
    assert_eq!(assess(&skipped).snapshot, SnapshotState::Skipped);
}

#[test]
fn running_without_a_task_is_creating_then_a_finding() {
    let bare = status(ConnectorState::Running, None);
    let mut young = observed(&bare, None);
    young.in_state_for = Duration::from_secs(1);
    assert_eq!(assess(&young).reason, ConnectorReason::Creating);
    assert_eq!(
        assess(&observed(&bare, None)).reason,
        ConnectorReason::NoTaskAssigned
    );
}

#[test]
fn stopped_is_good_only_when_asked() {
    let stopped = status(ConnectorState::Stopped, None);
    let mut asked = observed(&stopped, None);
    asked.want_stopped = true;
    assert!(assess(&asked).reason.is_ready());
    assert!(!assess(&observed(&stopped, None)).reason.is_ready());
}

#[test]
fn traces_are_told_apart() {
    let cases = [
        (
            "io.debezium.DebeziumException: The connector is trying to read change stream starting at {…}, but this is no longer available on the server.",
            ConnectorReason::ResumeTokenLost,
            Remedy::Operator,
        ),
        (
            "Caused by: com.mongodb.MongoTimeoutException: Timed out while waiting for a server",
            ConnectorReason::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "com.mongodb.MongoSocketReadException: Prematurely reached end of stream",
            ConnectorReason::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "Caused by: com.mongodb.MongoCommandException: Command failed with error 13 (Unauthorized): not authorized",
            ConnectorReason::AuthenticationFailed,
            Remedy::Operator,
        ),
        (
            "Command failed with error 10334 (BSONObjectTooLarge)",
            ConnectorReason::OversizeEvent,
            Remedy::Operator,
        ),
        (
            "org.apache.kafka.common.errors.RecordTooLargeException: The message is 20000000 bytes",
            ConnectorReason::OversizeEvent,
            Remedy::Operator,
        ),
        (
            "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler",
            ConnectorReason::TaskFailed,
            Remedy::Operator,
        ),
        (
            "java.lang.IllegalStateException: something new",
            ConnectorReason::TaskFailed,
            Remedy::RestartFailed,
        ),
    ];
    for (trace, reason, remedy) in cases {
        let failed = status(
            ConnectorState::Running,
            Some((ConnectorState::Failed, Some(trace))),
        );
        let a = assess(&observed(&failed, None));
        assert_eq!((a.reason, a.remedy), (reason, remedy), "{trace}");
    }
}

#[test]
fn the_message_names_the_root_cause_without_its_stack() {
    let trace = "org.apache.kafka.connect.errors.ConnectException: outer\n\tat a.b.C(C.java:1)\nCaused by: com.mongodb.MongoTimeoutException: Timed out after 30000 ms\n\tat x.y.Z(Z.java:2)";
    assert_eq!(
        root_cause(trace).as_deref(),
        Some("MongoTimeoutException: Timed out after 30000 ms")
    );
    assert_eq!(root_cause(""), None);
}
