//! The connector: validated, created stopped, started last; repaired when it says that it cannot go on by itself; held when
//! going on would hide a loss.

use std::time::Instant;

use tributary_crds::names::Ownership;
use tributary_crds::pipeline::TenantPipelineStatus;
use tributary_crds::relay::digest_of;
use tributary_crds::status::{PipelineCondition as C, PipelineReason as R, find};

use super::collections::{self, Added, Step};
use super::{Action, Run};
use crate::backend::BackendError;
use crate::backend::connect::connector::{
    self, COLLECTIONS_KEY, EXACTLY_ONCE_KEY, ExactlyOnce, HELD_KEY, OWNER_KEY,
};
use crate::backend::connect::health::{self, Observation, assess};
use crate::backend::connect::{Assessment, ConnectorConfig, ConnectorState, ConnectorStatus, Remedy};
use crate::guard::Guard;
use crate::pipeline::credential;
use crate::pipeline::memory::{Pace, PipelineMemory, Refusal};
use crate::pipeline::observe::{ConnectorSeen, Heartbeat, Observed, OffsetSeen};
use crate::pipeline::validate::{Accepted, snapshot_mode};

/// What must be so before a connector is made, changed or started.
#[derive(Clone, Copy)]
pub(super) struct Gates {
    pub topics: bool,
    /// The credential is in the mirrored Secret, under this generation.
    pub mirrored: bool,
    pub generation: u32,
    /// Tables exist and the relay runs: what the connector writes will be read.
    pub downstream: bool,
    pub run: Run,
}

impl Gates {
    pub(super) fn may_write(self) -> bool {
        self.topics && self.mirrored
    }
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

/// The view of the connector, what it does, and whether its records and offsets commit together.
pub(super) struct Planned {
    pub view: ConnectorView,
    pub assessment: Option<Assessment>,
    pub exactly_once: Option<ExactlyOnce>,
    pub added: Option<Added>,
}

impl Planned {
    fn view(view: ConnectorView) -> Self {
        Self {
            view,
            assessment: None,
            exactly_once: None,
            added: None,
        }
    }
}

pub(super) fn plan(
    accepted: &Accepted,
    observed: &Observed,
    gates: Gates,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) -> Planned {
    let seen = match &observed.connector {
        Ok(seen) => seen,
        Err(error) => return Planned::view(ConnectorView::Unavailable(error.clone())),
    };
    let wanted = wanted(accepted, gates, memory);
    let Some(config) = &seen.config else {
        if gates.run == Run::Nothing {
            return Planned::view(ConnectorView::NotWanted);
        }
        let view = create(observed, &wanted, gates, memory, actions);
        return Planned::view(view);
    };
    let ownership = accepted
        .effective
        .owner
        .ownership(config.get(OWNER_KEY).map_or("", String::as_str));
    if ownership != Ownership::Ours {
        return Planned::view(ConnectorView::Foreign(ownership));
    }
    let assessment = health(accepted, seen, config, gates.run, memory);
    let mut planned = Planned {
        view: ConnectorView::Present,
        exactly_once: exactly_once(config),
        assessment: None,
        added: None,
    };
    if assessment.remedy == Remedy::Hold {
        hold(seen, config, &wanted, gates, memory, actions);
        planned.assessment = Some(assessment);
        return planned;
    }
    if gates.run == Run::Nothing {
        stop_all(seen, actions);
        planned.assessment = Some(assessment);
        return planned;
    }
    planned.added = collections::plan(accepted, seen, config, &wanted, gates, memory, actions);
    let meanwhile = planned.added.as_ref().and_then(Added::assessment);
    planned.view = match &planned.added {
        Some(Added {
            step: Step::Refused(refusal),
            ..
        }) => ConnectorView::Refused(refusal.clone()),
        Some(_) if meanwhile.is_some() => ConnectorView::Present,
        // What joined waits for the first snapshot: its list stays, or it would begin again.
        Some(_) => {
            let mut wanted = wanted;
            if let Some(list) = config.get(COLLECTIONS_KEY) {
                wanted.insert(COLLECTIONS_KEY.to_owned(), list.clone());
            }
            settle(seen, config, &wanted, gates, &assessment, memory, actions)
        }
        None => settle(seen, config, &wanted, gates, &assessment, memory, actions),
    };
    planned.assessment = Some(meanwhile.unwrap_or(assessment));
    planned
}

/// The configuration as it should be now.
fn wanted(accepted: &Accepted, gates: Gates, memory: &mut PipelineMemory) -> ConnectorConfig {
    let mut spec = accepted.connector.clone();
    spec.exactly_once = memory.connector.exactly_once(Instant::now());
    let files = &spec.credentials;
    spec.credentials = credential::files(
        &accepted.effective.owner,
        &files.provider,
        &files.mount_path,
        &accepted.credential,
        gates.generation,
    );
    connector::render(&spec)
}

fn create(
    observed: &Observed,
    wanted: &ConnectorConfig,
    gates: Gates,
    memory: &PipelineMemory,
    actions: &mut Vec<Action>,
) -> ConnectorView {
    // Validation can take a minute: the relay's pod starts meanwhile.
    if !gates.may_write() || (observed.deployments.is_empty() && gates.run == Run::All) {
        return ConnectorView::Pending("The connector waits for its topics, its credential and the relay.");
    }
    if let Some(refusal) = waiting_refusal(memory, wanted) {
        return ConnectorView::Refused(refusal);
    }
    actions.push(Action::CreateConnector(wanted.clone()));
    last_refusal(memory, wanted, "The connector is being created.")
}

/// Brings a connector that may run to the wanted configuration and state.
fn settle(
    seen: &ConnectorSeen,
    config: &ConnectorConfig,
    wanted: &ConnectorConfig,
    gates: Gates,
    assessment: &Assessment,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) -> ConnectorView {
    if config != wanted && gates.may_write() {
        if let Some(refusal) = waiting_refusal(memory, wanted) {
            return ConnectorView::Refused(refusal);
        }
        actions.push(Action::ConfigureConnector(wanted.clone()));
        return last_refusal(memory, wanted, "The connector is being reconfigured.");
    }
    match run_state(seen.status.as_ref()) {
        RunState::Stopped if gates.downstream && gates.may_write() => {
            actions.push(Action::StartConnector);
            ConnectorView::Pending("The connector is being started.")
        }
        RunState::Stopped => {
            ConnectorView::Pending("The connector is stopped until tables, topics and relay are ready.")
        }
        RunState::Going => {
            actions.extend(repair(assessment, memory));
            ConnectorView::Present
        }
    }
}

/// Asked to stand still: the connector, and the one that reads what joined.
fn stop_all(seen: &ConnectorSeen, actions: &mut Vec<Action>) {
    if matches!(run_state(seen.status.as_ref()), RunState::Going) {
        actions.push(Action::StopConnector);
    }
    let second = seen.snapshot.as_ref().and_then(|s| s.status.as_ref());
    if second.is_some_and(|s| matches!(run_state(Some(s)), RunState::Going)) {
        actions.push(Action::StopSnapshotConnector);
    }
}

/// Lost history: stopped, marked, and left so until somebody deletes the offsets, which is the one act that says "go on with
/// the gap" and that nobody does by accident.
fn hold(
    seen: &ConnectorSeen,
    config: &ConnectorConfig,
    wanted: &ConnectorConfig,
    gates: Gates,
    memory: &mut PipelineMemory,
    actions: &mut Vec<Action>,
) {
    memory.connector.held = true;
    if !is_stopped(seen.status.as_ref()) {
        actions.push(Action::StopConnector);
        return;
    }
    if seen.offset == OffsetSeen::Absent {
        if gates.may_write() && waiting_refusal(memory, wanted).is_none() {
            memory.connector.held = false;
            actions.push(Action::ConfigureConnector(wanted.clone()));
        }
        return;
    }
    if !config.contains_key(HELD_KEY) {
        let mut marked = config.clone();
        marked.insert(HELD_KEY.to_owned(), R::ResumeTokenLost.as_str().to_owned());
        actions.push(Action::HoldConnector(marked));
    }
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

/// Stopped, and its tasks are gone: what it committed last is its place.
pub(in crate::pipeline) fn is_stopped(status: Option<&ConnectorStatus>) -> bool {
    status.is_some_and(|s| s.connector.state == ConnectorState::Stopped && s.tasks.is_empty())
}

/// The refusal of exactly this configuration, while it is too early to ask again.
pub(super) fn waiting_refusal(memory: &PipelineMemory, wanted: &ConnectorConfig) -> Option<Refusal> {
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

fn exactly_once(config: &ConnectorConfig) -> Option<ExactlyOnce> {
    let value = config.get(EXACTLY_ONCE_KEY).map(String::as_str);
    let required = value == Some(ExactlyOnce::Required.as_str());
    Some(if required || !Guard::SourceExactlyOnce.holds() {
        ExactlyOnce::Required
    } else {
        ExactlyOnce::Requested
    })
}

fn health(
    accepted: &Accepted,
    seen: &ConnectorSeen,
    config: &ConnectorConfig,
    run: Run,
    memory: &mut PipelineMemory,
) -> Assessment {
    let now = Instant::now();
    let connector = &mut memory.connector;
    let states = seen
        .status
        .as_ref()
        .map(|s| (s.connector.state, s.tasks.first().map(|t| t.state)));
    if let (Some(states), Some(status)) = (states, &accepted.pipeline.status) {
        let restarts = status.connector.as_ref().and_then(|c| c.restarts);
        connector.resume(restarts, showed_no_progress(status), states, now);
    }
    let in_state_for = states.map(|s| connector.seen(s, now)).unwrap_or_default();
    let progress = match seen.heartbeat {
        Heartbeat::Unknown => None,
        Heartbeat::Newest(newest) => Some(health::progress(seen.offset.get(), newest)),
    };
    connector.complete = seen.offset.get().filter(|o| !o.initial_snapshot).cloned();
    let mut assessment = assess(&Observation {
        status: seen.status.as_ref(),
        offset: seen.offset.get(),
        want_stopped: run == Run::Nothing,
        snapshot: snapshot_mode(accepted.effective.source.snapshot_mode),
        in_state_for,
        unmoved_for: connector.unmoved(progress, now),
        held: config.contains_key(HELD_KEY) || connector.held,
    });
    if assessment.remedy == Remedy::Hold && !Guard::HistoryHold.holds() {
        assessment.remedy = Remedy::RestartFailed;
    }
    if assessment.reason.is_ready() {
        connector.healthy(in_state_for);
    }
    assessment
}

fn showed_no_progress(status: &TenantPipelineStatus) -> bool {
    find(&status.conditions, C::ConnectorReady.as_str()).is_some_and(|c| c.reason == R::NoProgress.as_str())
}

pub(super) fn repair(assessment: &Assessment, memory: &mut PipelineMemory) -> Option<Action> {
    let (action, pace) = match assessment.remedy {
        Remedy::RestartFailed => (Action::RestartFailedTasks, Pace::Growing),
        Remedy::Restart => (Action::RestartConnector, Pace::Growing),
        Remedy::Rarely => (Action::RestartFailedTasks, Pace::Rare),
        Remedy::None | Remedy::Hold => return None,
    };
    memory
        .connector
        .restart_due(pace, Instant::now())
        .then_some(action)
}
