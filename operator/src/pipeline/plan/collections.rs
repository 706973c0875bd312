//! Collections that join a running pipeline: their existing documents are read once before their changes are streamed.
//!
//! Debezium takes no snapshot of a collection that is merely added to the list. Its incremental snapshots write watermarks into the
//! tenant's database, and its blocking ones are asked for by a signal that a crash forgets and reported by a notification that
//! arrives before the last records. So the stream is stopped at a committed place P; a second connector of the same topic prefix
//! reads the new collections, and its committed offset proves the end of its snapshot; then it goes, and the stream goes on from P
//! with the new collections in its list. Every change after P comes again after the documents: the last event of each key is the
//! newest. Every step is decided from what Connect shows, so that it goes on after any crash.
//!
//! Tried on Debezium 3.6.1: `initial_only` commits no offset for empty collections, so the second connector is an ordinary one,
//! whose first heartbeat commits it; two *running* connectors of one prefix wait a minute for each other's metrics, these never do.

use std::collections::BTreeSet;

use super::Action;
use super::connector::{Gates, is_stopped, repair, waiting_refusal};
use crate::backend::connect::connector::{
    self, COLLECTIONS_KEY, HEARTBEAT_PREFIX_KEY, SNAPSHOT_HEARTBEAT_PREFIX, SnapshotMode,
};
use crate::backend::connect::health::{Observation, assess};
use crate::backend::connect::{
    Assessment, ConnectorConfig, ConnectorReason, ConnectorState, Remedy, SnapshotState,
};
use crate::pipeline::memory::{PipelineMemory, Refusal};
use crate::pipeline::observe::{ConnectorSeen, SnapshotConnector};
use crate::pipeline::validate::{Accepted, snapshot_mode};

/// Collections whose documents are not read yet, and how far that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// `<database>.<collection>`.
    pub collections: BTreeSet<String>,
    pub step: Step,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The first snapshot runs: theirs waits for its end.
    Waiting,
    /// The stream is being stopped, or the second connector made.
    Preparing,
    /// Connect refused the second connector.
    Refused(Refusal),
    /// It reads, or it failed: what Connect says of it.
    Reading(Assessment),
    /// All is read; the stream takes the collections over.
    HandingOver,
}

/// `None`: nothing was added, or what was added has been read.
pub(super) fn plan(
    accepted: &Accepted,
    seen: &ConnectorSeen,
    config: &ConnectorConfig,
    wanted: &ConnectorConfig,
    gates: Gates,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) -> Option<Added> {
    let collections: BTreeSet<String> = listed(wanted).difference(&listed(config)).cloned().collect();
    let snapshots = snapshot_mode(accepted.effective.source.snapshot_mode) == SnapshotMode::Initial;
    let taken = seen.offset.is_complete();
    if collections.is_empty() || !snapshots {
        // The list has them: whatever read them has done its work. The stream starts again when it is gone.
        return seen.snapshot.as_ref().map(|second| {
            actions.push(remove(second));
            Added {
                collections,
                step: Step::HandingOver,
            }
        });
    }
    // Nothing was read at all yet: the first snapshot reads them with the others.
    seen.offset.get()?;
    let step = if taken && gates.may_write() && gates.downstream {
        advance(accepted, seen, wanted, &collections, memory, actions)
    } else {
        Step::Waiting
    };
    Some(Added { collections, step })
}

fn advance(
    accepted: &Accepted,
    seen: &ConnectorSeen,
    wanted: &ConnectorConfig,
    collections: &BTreeSet<String>,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) -> Step {
    if !is_stopped(seen.status.as_ref()) {
        actions.push(Action::StopConnector);
        return Step::Preparing;
    }
    let reader = reader(accepted, wanted, collections);
    let Some(second) = &seen.snapshot else {
        if let Some(refusal) = waiting_refusal(memory, &reader) {
            return Step::Refused(refusal);
        }
        actions.push(Action::CreateSnapshotConnector(reader));
        return Step::Preparing;
    };
    if second.config != reader {
        // Asked for something else meanwhile, or with another credential: it begins again.
        actions.push(remove(second));
        return Step::Preparing;
    }
    if second.offset.as_ref().is_some_and(|o| !o.initial_snapshot) {
        if let Some(refusal) = waiting_refusal(memory, wanted) {
            return Step::Refused(refusal);
        }
        actions.push(Action::ConfigureConnector(wanted.clone()));
        return Step::HandingOver;
    }
    let assessment = judge(second);
    if second.status.as_ref().map(|s| s.connector.state) == Some(ConnectorState::Stopped) {
        // Created and not started: the process ended in between.
        actions.push(Action::StartSnapshotConnector);
    } else {
        actions.extend(repair(&assessment, memory).map(|_| Action::RestartSnapshotConnector));
    }
    Step::Reading(assessment)
}

fn remove(second: &SnapshotConnector) -> Action {
    if is_stopped(second.status.as_ref()) {
        Action::DeleteSnapshotConnector
    } else {
        Action::StopSnapshotConnector
    }
}

/// The wanted connector, reading these collections once and streaming nothing.
fn reader(accepted: &Accepted, wanted: &ConnectorConfig, collections: &BTreeSet<String>) -> ConnectorConfig {
    let mut config = wanted.clone();
    let list = collections.iter().cloned().collect::<Vec<_>>().join(",");
    config.insert(COLLECTIONS_KEY.to_owned(), list);
    // Its heartbeats commit the end of an empty collection; in the pipeline's own topic they would say that the stream, which
    // stands, is fresh.
    config.insert(
        HEARTBEAT_PREFIX_KEY.to_owned(),
        SNAPSHOT_HEARTBEAT_PREFIX.to_owned(),
    );
    config.insert(connector::OWNER_KEY.to_owned(), accepted.effective.owner.mark());
    config
}

fn judge(second: &SnapshotConnector) -> Assessment {
    assess(&Observation {
        status: second.status.as_ref(),
        offset: second.offset.as_ref(),
        want_stopped: false,
        snapshot: SnapshotMode::Initial,
        in_state_for: std::time::Duration::ZERO,
        unmoved_for: std::time::Duration::ZERO,
        held: false,
    })
}

impl Added {
    /// What the pipeline's connector is doing meanwhile; `None` while it goes on as if nothing had been added.
    pub(super) fn assessment(&self) -> Option<Assessment> {
        match &self.step {
            Step::Waiting => None,
            Step::Reading(reading) if !reading.reason.is_ready() && reading.remedy != Remedy::None => {
                Some(reading.clone())
            }
            Step::Preparing | Step::Refused(_) | Step::Reading(_) | Step::HandingOver => Some(Assessment {
                reason: ConnectorReason::Snapshotting,
                message: "Collections that joined are being read; the stream waits at its place.".to_owned(),
                remedy: Remedy::None,
                snapshot: SnapshotState::Running,
            }),
        }
    }
}

fn listed(config: &ConnectorConfig) -> BTreeSet<String> {
    let list = config.get(COLLECTIONS_KEY).map_or("", String::as_str);
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
