//! Why a pipeline is behind: the first thing along the way from the source to the tables that is not as it should be. Pure.

use tributary_crds::relay::{DatasetStatus, LaneState, RelayPhase, RetryCause, TableStatus};
use tributary_crds::status::{ConditionStatus, PipelineCondition as C};

use super::conditions::Verdicts;
use super::observe::{Observed, RelayAnswer};

/// One clause without a full stop and without figures that change.
pub(super) fn cause(observed: &Observed, verdicts: &Verdicts, missed: &[&str]) -> String {
    let RelayAnswer::Status(relay) = &observed.relay else {
        return "the relay cannot be asked".to_owned();
    };
    if relay.phase != RelayPhase::Running {
        return "the relay is starting".to_owned();
    }
    let datasets: Vec<&DatasetStatus> = relay
        .datasets
        .iter()
        .filter(|d| missed.contains(&d.name.as_str()))
        .collect();
    if let Some(lane) = stuck_lane(&datasets) {
        return lane;
    }
    if waits_in_kafka(&datasets) {
        return "the relay has a backlog in Kafka and works on it".to_owned();
    }
    // Everything that is in Kafka is in the tables: what is missing has not come this far.
    let connector = verdicts
        .iter()
        .rev()
        .find(|(c, _)| *c == C::ConnectorReady)
        .map(|(_, v)| v);
    match connector {
        Some(verdict) if verdict.status == ConditionStatus::False => {
            format!("the connector ({})", verdict.reason)
        }
        Some(verdict) if verdict.status == ConditionStatus::Unknown => {
            "the connector, perhaps: Kafka Connect does not answer".to_owned()
        }
        _ => "the source or the connector: nothing newer has come to Kafka, not even a heartbeat".to_owned(),
    }
}

/// The first table of these datasets that takes no load.
fn stuck_lane(datasets: &[&DatasetStatus]) -> Option<String> {
    let tables = || datasets.iter().flat_map(|d| d.tables.iter());
    let name = |t: &TableStatus| format!("{}.{}", t.database, t.table);
    let blocked = tables().find(|t| matches!(t.lane, LaneState::Blocked { .. }));
    if let Some(table) = blocked {
        return Some(format!("{} stands still", name(table)));
    }
    tables().find_map(|table| match &table.lane {
        LaneState::Retrying { cause, .. } => Some(format!("{}: {}", name(table), retrying(*cause))),
        LaneState::Idle | LaneState::Loading { .. } | LaneState::Blocked { .. } => None,
    })
}

fn retrying(cause: RetryCause) -> &'static str {
    match cause {
        RetryCause::Unreachable => "StarRocks cannot be reached",
        RetryCause::Timeout => "StarRocks does not answer in time",
        RetryCause::ServerError => "StarRocks answers with an error",
        RetryCause::NoBackendAlive => "no backend of StarRocks is alive",
        RetryCause::TooManyVersions => {
            "too many versions: compaction does not keep up (longer freshness.hot or batch.linger, fewer buckets, more backends)"
        }
        RetryCause::TooManyTransactions => {
            "too many transactions at a time in its database (max_running_txn_num_per_db)"
        }
        RetryCause::LabelRunning => "an earlier load of the same rows is still being written",
        RetryCause::Publishing => "its newest load is committed and not readable yet",
        RetryCause::CommitFailed => "Kafka does not take the commit that comes before a load",
        RetryCause::ParkFailed => "Kafka does not take the documents that are to be parked",
        RetryCause::SchemaChanging => "its schema is being changed",
        RetryCause::ShuttingDown => "StarRocks is shutting down",
    }
}

fn waits_in_kafka(datasets: &[&DatasetStatus]) -> bool {
    datasets.iter().flat_map(|d| d.partitions.iter()).any(|p| {
        p.end
            .is_some_and(|end| p.committed.unwrap_or(p.position).min(p.position) < end)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use tributary_crds::relay::PartitionStatus;
    use tributary_crds::status::{PipelineReason as R, Verdict};

    fn observed(change: impl FnOnce(&mut DatasetStatus)) -> Observed {
        let accepted = accepted();
        let mut world = settled_world(&accepted);
        if let RelayAnswer::Status(status) = &mut world.relay {
            change(&mut status.datasets[0]);
        }
        world
    }

    fn partition(committed: i64, end: i64) -> PartitionStatus {
        PartitionStatus {
            partition: 0,
            position: committed,
            committed: Some(committed),
            end: Some(end),
        }
    }

    fn streaming() -> Verdicts {
        vec![(C::ConnectorReady, Verdict::good(R::Streaming, ""))]
    }

    #[test]
    fn the_nearest_fault_on_the_way_is_the_cause() {
        let world = observed(|d| {
            d.partitions = vec![partition(5, 9)];
            d.tables[0].lane = LaneState::Retrying {
                label: "l".into(),
                cause: RetryCause::TooManyVersions,
                message: "x".into(),
                attempts: 1,
                since_ms: 0,
            };
        });
        let text = cause(&world, &streaming(), &["orders"]);
        assert!(
            text.starts_with("tenant_acme.orders: too many versions"),
            "{text}"
        );
        // Another dataset's trouble is not this one's.
        assert!(!cause(&world, &streaming(), &["customers"]).contains("versions"));

        let world = observed(|d| d.partitions = vec![partition(5, 9)]);
        assert!(cause(&world, &streaming(), &["orders"]).contains("backlog"));

        let world = observed(|d| d.partitions = vec![partition(9, 9)]);
        assert!(cause(&world, &streaming(), &["orders"]).contains("not even a heartbeat"));
        let failed = vec![(C::ConnectorReady, Verdict::bad(R::SourceUnreachable, ""))];
        assert_eq!(
            cause(&world, &failed, &["orders"]),
            "the connector (SourceUnreachable)"
        );

        let mut world = world;
        world.relay = RelayAnswer::NoPod;
        assert_eq!(
            cause(&world, &streaming(), &["orders"]),
            "the relay cannot be asked"
        );
    }
}
