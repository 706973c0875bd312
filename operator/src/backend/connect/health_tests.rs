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
        want_stopped: false,
        snapshot: SnapshotMode::Initial,
        in_state_for: Duration::from_secs(600),
        unmoved_for: Duration::ZERO,
        held: false,
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
fn running_counts_only_while_something_moves() {
    let running = status(ConnectorState::Running, Some((ConnectorState::Running, None)));
    // However old by our clock: it moves.
    let old = offset(5000, false);
    assert_eq!(
        assess(&observed(&running, Some(&old))).reason,
        ConnectorReason::Streaming
    );
    let mut dead = observed(&running, Some(&old));
    dead.unmoved_for = STALL + Duration::from_secs(1);
    let verdict = assess(&dead);
    assert_eq!(
        (verdict.reason, verdict.remedy),
        (ConnectorReason::NoProgress, Remedy::Restart)
    );
    let mut resumed = dead.clone();
    resumed.in_state_for = Duration::from_secs(5);
    assert_eq!(assess(&resumed).reason, ConnectorReason::Streaming);
    // A snapshot writes no heartbeats while it reads.
    let reading = offset(5000, true);
    let mut snapshot = observed(&running, Some(&reading));
    snapshot.unmoved_for = STALL * 60;
    assert_eq!(assess(&snapshot).reason, ConnectorReason::Snapshotting);
}

#[test]
fn progress_is_the_newer_of_heartbeat_and_token() {
    let token = offset(500, false);
    let beat = now() - Duration::from_secs(4);
    assert_eq!(progress(Some(&token), Some(beat)), Some(beat));
    assert_eq!(
        progress(Some(&token), None),
        Some(now() - Duration::from_secs(500))
    );
    assert_eq!(progress(None, None), None);
}

#[test]
fn lost_history_holds_whatever_connect_says() {
    for state in [ConnectorState::Running, ConnectorState::Stopped] {
        let status = status(state, None);
        let mut held = observed(&status, None);
        held.held = true;
        let verdict = assess(&held);
        assert_eq!(
            (verdict.reason, verdict.remedy),
            (ConnectorReason::ResumeTokenLost, Remedy::Hold)
        );
    }
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
fn a_failed_task_is_judged_by_its_trace() {
    let failed = status(
        ConnectorState::Running,
        Some((
            ConnectorState::Failed,
            Some("Command failed with error 286 (ChangeStreamHistoryLost)"),
        )),
    );
    let verdict = assess(&observed(&failed, None));
    assert_eq!(
        (verdict.reason, verdict.remedy),
        (ConnectorReason::ResumeTokenLost, Remedy::Hold)
    );
}
