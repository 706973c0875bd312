//! The connector: validated, created stopped, started last; repaired when it says that it cannot go on by itself.

use std::time::{Instant, SystemTime};

use tributary_crds::names::Ownership;

use super::{Action, Run};
use crate::backend::BackendError;
use crate::backend::connect::connector::OWNER_KEY;
use crate::backend::connect::health::{Observation, assess};
use crate::backend::connect::{Assessment, ConnectorConfig, ConnectorState, ConnectorStatus, Remedy};
use crate::pipeline::memory::{PipelineMemory, Refusal};
use crate::pipeline::observe::{ConnectorSeen, Observed};
use crate::pipeline::validate::{Accepted, snapshot_mode};
use tributary_crds::relay::digest_of;

/// What must be so before a connector is made, changed or started.
#[derive(Clone, Copy)]
pub(super) struct Gates {
    pub topics: bool,
    /// The credential is in the mirrored Secret.
    pub mirrored: bool,
    /// Tables exist and the relay runs: what the connector writes will be read.
    pub downstream: bool,
    pub run: Run,
}

#[derive(Clone, Debug)]
pub enum ConnectorView {
    Unavailable(BackendError),
    /// It exists and somebody else made it.
    Foreign(Ownership),
    /// Connect refused the configuration.
    Refused(Refusal),
    /// It is not there yet, or waits to be started.
    Pending(&'static str),
    /// There is none, and none is wanted.
    NotWanted,
    /// It does what Connect says; see the assessment.
    Present,
}

pub(super) fn plan(
    accepted: &Accepted,
    observed: &Observed,
    gates: Gates,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) -> (ConnectorView, Option<Assessment>) {
    let seen = match &observed.connector {
        Ok(seen) => seen,
        Err(error) => return (ConnectorView::Unavailable(error.clone()), None),
    };
    let wanted = &accepted.connector;
    let may_write = gates.topics && gates.mirrored;
    let Some(config) = &seen.config else {
        if gates.run == Run::Nothing {
            return (ConnectorView::NotWanted, None);
        }
        // Validation can take a minute: the relay's pod starts meanwhile.
        if !may_write || (observed.deployment.is_none() && gates.run == Run::All) {
            return (
                ConnectorView::Pending("The connector waits for its topics, its credential and the relay."),
                None,
            );
        }
        return match waiting_refusal(memory, wanted) {
            Some(refusal) => (ConnectorView::Refused(refusal), None),
            None => {
                actions.push(Action::CreateConnector(wanted.clone()));
                (
                    last_refusal(memory, wanted, "The connector is being created."),
                    None,
                )
            }
        };
    };
    let ownership = accepted
        .effective
        .owner
        .ownership(config.get(OWNER_KEY).map_or("", String::as_str));
    if ownership != Ownership::Ours {
        return (ConnectorView::Foreign(ownership), None);
    }
    let assessment = health(accepted, seen, gates.run, memory);
    if gates.run == Run::Nothing {
        if matches!(run_state(seen.status.as_ref()), RunState::Going) {
            actions.push(Action::StopConnector);
        }
        return (ConnectorView::Present, Some(assessment));
    }
    if config != wanted && may_write {
        return match waiting_refusal(memory, wanted) {
            Some(refusal) => (ConnectorView::Refused(refusal), Some(assessment)),
            None => {
                actions.push(Action::ConfigureConnector(wanted.clone()));
                (
                    last_refusal(memory, wanted, "The connector is being reconfigured."),
                    Some(assessment),
                )
            }
        };
    }
    let view = match run_state(seen.status.as_ref()) {
        RunState::Stopped if gates.downstream && may_write => {
            actions.push(Action::StartConnector);
            ConnectorView::Pending("The connector is being started.")
        }
        RunState::Stopped => {
            ConnectorView::Pending("The connector is stopped until tables, topics and relay are ready.")
        }
        RunState::Going => {
            actions.extend(repair(&assessment, memory));
            ConnectorView::Present
        }
    };
    (view, Some(assessment))
}

enum RunState {
    Stopped,
    Going,
}

fn run_state(status: Option<&ConnectorStatus>) -> RunState {
    match status.map(|s| s.connector.state) {
        Some(ConnectorState::Stopped | ConnectorState::Paused) => RunState::Stopped,
        // No status is what a connector has just after its creation.
        _ => RunState::Going,
    }
}

/// The refusal of exactly this configuration, while it is too early to ask again.
fn waiting_refusal(memory: &PipelineMemory, wanted: &ConnectorConfig) -> Option<Refusal> {
    let refusal = memory.connector.refused.as_ref()?;
    let same = refusal.digest == digest_of(wanted);
    (same && Instant::now() < refusal.retry_at).then(|| refusal.clone())
}

/// While a refused configuration is asked about again, what it was refused for stays what is said: no flapping.
fn last_refusal(memory: &PipelineMemory, wanted: &ConnectorConfig, else_say: &'static str) -> ConnectorView {
    match &memory.connector.refused {
        Some(refusal) if refusal.digest == digest_of(wanted) => ConnectorView::Refused(refusal.clone()),
        _ => ConnectorView::Pending(else_say),
    }
}

fn health(accepted: &Accepted, seen: &ConnectorSeen, run: Run, memory: &mut PipelineMemory) -> Assessment {
    let states = seen
        .status
        .as_ref()
        .map(|s| (s.connector.state, s.tasks.first().map(|t| t.state)));
    let in_state_for = states
        .map(|s| memory.connector.seen(s, Instant::now()))
        .unwrap_or_default();
    assess(&Observation {
        status: seen.status.as_ref(),
        offset: seen.offset.as_ref(),
        heartbeat: seen.heartbeat,
        want_stopped: run == Run::Nothing,
        snapshot: snapshot_mode(accepted.effective.source.snapshot_mode),
        in_state_for,
        now: SystemTime::now(),
    })
}

fn repair(assessment: &Assessment, memory: &mut PipelineMemory) -> Option<Action> {
    let action = match assessment.remedy {
        Remedy::RestartFailed => Action::RestartFailedTasks,
        Remedy::Restart => Action::RestartConnector,
        Remedy::None if assessment.reason.is_ready() => {
            memory.connector.healthy();
            return None;
        }
        Remedy::None | Remedy::Operator => return None,
    };
    memory.connector.restart_due(Instant::now()).then_some(action)
}
