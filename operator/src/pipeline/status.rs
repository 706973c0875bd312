//! From what was seen and done to a TenantPipeline's status: conditions, buckets, one headline.

use std::time::Duration;

use jiff::Timestamp;
use tributary_crds::TenantPipeline;
use tributary_crds::effective::{EffectiveDataset, EffectiveTable};
use tributary_crds::pipeline::{
    ConnectorStatus, DatasetSummary, DesiredState, EffectiveStatus, Lag, RelayDeploymentStatus, TableSummary,
    TenantPipelineStatus,
};
use tributary_crds::relay::{DatasetStatus, TableConfig};
use tributary_crds::status::{
    Composed, Condition, ConditionStatus, Held, LagBucket, Observation, PipelineCondition as C,
    PipelineReason as R, RECONCILING, STALLED, Verdict, clip, compose, find,
};

use super::apply::Failure;
use super::conditions::{self, Verdicts};
use super::freshness::{Freshness, Shown};
use super::lag_cause;
use super::memory::PipelineMemory;
use super::observe::{Observed, RELAY_ORDINAL, RelayAnswer};
use super::plan::Plan;
use super::validate::{Accepted, Refused};
use crate::backend::connect::SnapshotState;

/// A condition changes at most this often because of a measurement.
const MEASURED_PAUSE: Duration = Duration::from_secs(30);

/// Whether every condition is True, and none of the two that are good when absent is there.
pub fn is_calm(status: &TenantPipelineStatus) -> bool {
    let troubled = [RECONCILING, STALLED]
        .iter()
        .any(|kind| find(&status.conditions, kind).is_some());
    !troubled
        && status
            .conditions
            .iter()
            .all(|c| c.status == ConditionStatus::True)
}

/// A pipeline that may not run. What ran before keeps running where a reference was withdrawn only for new writes.
pub fn refused(pipeline: &TenantPipeline, refused: &Refused, now: Timestamp) -> TenantPipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let verdict = Verdict::bad(refused.reason, refused.message.as_str());
    let observation = Observation {
        generation: pipeline.metadata.generation.unwrap_or_default(),
        verdicts: vec![(C::Accepted, verdict)],
        ready: Verdict::good(R::Flowing, ""),
        held: Held::NotProven,
        reconciling: None,
        stalled: stalled_reason(refused.reason).then(|| (refused.reason, refused.message.clone())),
    };
    let observed_generation = observation.generation;
    let Composed {
        conditions,
        reason,
        message,
    } = compose(&previous.conditions, observation, now);
    TenantPipelineStatus {
        observed_generation,
        conditions,
        reason: Some(reason),
        message: Some(message),
        ..previous
    }
}

/// A pipeline on its way out, and what its deletion waits for.
pub fn deleting(pipeline: &TenantPipeline, message: &str, now: Timestamp) -> TenantPipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let verdict = Verdict::bad(R::Deleting, message);
    let observation = Observation {
        generation: pipeline.metadata.generation.unwrap_or_default(),
        verdicts: vec![(C::Accepted, verdict.clone())],
        ready: verdict,
        held: Held::NotProven,
        reconciling: None,
        stalled: None,
    };
    let observed_generation = observation.generation;
    let Composed {
        conditions,
        reason,
        message,
    } = compose(&previous.conditions, observation, now);
    TenantPipelineStatus {
        observed_generation,
        conditions,
        reason: Some(reason),
        message: Some(message),
        ..previous
    }
}

pub fn status(
    pipeline: &TenantPipeline,
    accepted: &Accepted,
    observed: &Observed,
    plan: &Plan,
    failures: &[Failure],
    memory: &mut PipelineMemory,
    now: Timestamp,
) -> TenantPipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
    let restarts = memory.connector.restarts();
    let mut verdicts = conditions::layers(accepted, observed, plan, failures, restarts, now_ms);
    let measured = measure(accepted, observed, &previous, memory, now);
    verdicts.push((C::Fresh, fresh(accepted, observed, plan, &measured, &verdicts)));
    verdicts.push((
        C::Lossless,
        super::lossless::lossless(accepted, observed, plan, &previous.conditions),
    ));
    pace(&mut verdicts, &previous.conditions, memory, now);

    let stalled = stalled(&verdicts);
    let reconciling = plan.actions.iter().find(|a| a.applies_spec()).map(|a| {
        let reason = first_gate_reason(&verdicts).unwrap_or(R::RollingOut);
        (reason, format!("Next: {a}."))
    });
    let observation = Observation {
        generation: pipeline.metadata.generation.unwrap_or_default(),
        verdicts,
        ready: ready(accepted),
        held: if conditions::rows_land(observed, now_ms) {
            Held::Proven
        } else {
            Held::NotProven
        },
        reconciling: reconciling.filter(|_| stalled.is_none()),
        stalled,
    };
    let observed_generation = observation.generation;
    let Composed {
        conditions,
        reason,
        message,
    } = compose(&previous.conditions, observation, now);
    let owner = &accepted.effective.owner;
    let worst = measured.iter().filter_map(|m| m.bucket).max();
    let fresh = measured
        .iter()
        .filter(|m| m.shown.is_some_and(|s| !s.missed))
        .count();
    TenantPipelineStatus {
        observed_generation,
        reason: Some(reason),
        message: Some(message),
        lag: worst.map(|bucket| Lag {
            hot: Some(bucket.to_string()),
        }),
        datasets_fresh: Some(format!("{fresh}/{}", measured.len())),
        effective: Some(EffectiveStatus {
            digest: accepted.effective.digest(),
            platform_generation: accepted.platform.metadata.generation.unwrap_or_default(),
        }),
        connector: Some(ConnectorStatus {
            name: owner.connector(),
            topic_prefix: accepted.effective.source.topic_prefix.clone(),
            restarts: i32::try_from(restarts).ok().filter(|n| *n > 0),
        }),
        relay: Some(RelayDeploymentStatus {
            deployment: format!(
                "{}/{}",
                accepted
                    .platform
                    .metadata
                    .namespace
                    .as_deref()
                    .unwrap_or_default(),
                owner.relay_deployment(RELAY_ORDINAL)
            ),
            consumer_group: owner.consumer_group(),
            dead_letter_topic: Some(accepted.effective.dead_letter_topic()),
        }),
        datasets: summaries(accepted, observed, &measured),
        conditions,
    }
}

fn ready(accepted: &Accepted) -> Verdict<R> {
    match accepted.effective.desired_state {
        DesiredState::Running => Verdict::good(R::Flowing, flowing(accepted.datasets.len())),
        DesiredState::SinksPaused => Verdict::good(
            R::Paused,
            "Paused as asked: changes are captured and wait in Kafka for as long as its retention allows.",
        ),
        DesiredState::Stopped => Verdict::good(
            R::Paused,
            "Stopped as asked: nothing is captured, and the source keeps its history only for so long.",
        ),
    }
}

fn flowing(datasets: usize) -> String {
    match datasets {
        1 => "1 dataset flows to StarRocks.".to_owned(),
        n => format!("{n} datasets flow to StarRocks."),
    }
}

/// One dataset's freshness as it is shown.
struct Measured {
    bucket: Option<LagBucket>,
    /// `None`: nothing was measured this time.
    shown: Option<Shown>,
}

fn measure(
    accepted: &Accepted,
    observed: &Observed,
    previous: &TenantPipelineStatus,
    memory: &mut PipelineMemory,
    now: Timestamp,
) -> Vec<Measured> {
    let objective = accepted.effective.freshness;
    let freshness = memory.freshness.get_or_insert_with(|| resume(previous));
    let names: Vec<&str> = accepted.datasets.iter().map(|d| d.name.as_str()).collect();
    freshness.retain(|name| names.contains(&name));
    names
        .into_iter()
        .map(|name| {
            let lag = relay_dataset(observed, name)
                .and_then(|d| d.lag_ms)
                .map(Duration::from_millis);
            let shown = lag.map(|lag| freshness.measure(name, lag, objective.hot, now, objective.window));
            Measured {
                bucket: shown.map(|s| s.bucket).or_else(|| freshness.last(name)),
                shown,
            }
        })
        .collect()
}

fn resume(previous: &TenantPipelineStatus) -> Freshness {
    let shown = previous
        .datasets
        .iter()
        .map(|d| (d.name.as_str(), d.lag.as_deref().and_then(LagBucket::parse)));
    let fresh = find(&previous.conditions, C::Fresh.as_str());
    let missed = fresh.and_then(|c| match (c.status, c.reason.as_str()) {
        (ConditionStatus::True, _) => Some(false),
        (ConditionStatus::False, reason) if reason == R::LagExceedsObjective.as_str() => Some(true),
        _ => None,
    });
    Freshness::resume(shown, missed)
}

fn relay_dataset<'a>(observed: &'a Observed, name: &str) -> Option<&'a DatasetStatus> {
    match &observed.relay {
        RelayAnswer::Status(status) => status.datasets.iter().find(|d| d.name == name),
        RelayAnswer::NoPod | RelayAnswer::Unreachable(_) => None,
    }
}

fn fresh(
    accepted: &Accepted,
    observed: &Observed,
    plan: &Plan,
    measured: &[Measured],
    verdicts: &Verdicts,
) -> Verdict<R> {
    let Some(objective) = accepted.effective.freshness.hot else {
        return Verdict::good(R::NoObjective, "No freshness.hot is set.");
    };
    if accepted.effective.desired_state != DesiredState::Running {
        return Verdict::unknown(R::Paused, "Nothing is loaded, as asked.");
    }
    let stuck = verdicts.iter().rev().find(|(c, v)| {
        matches!(c, C::RelayReady | C::ConnectorReady)
            && v.status == ConditionStatus::False
            && matches!(
                v.reason,
                R::NoProgress | R::LoadsRejected | R::PositionLost | R::ResumeTokenLost | R::TaskFailed
            )
    });
    if let Some((_, stuck)) = stuck {
        return Verdict::bad(R::NoProgress, stuck.message.as_str());
    }
    let snapshotting = plan
        .assessment
        .as_ref()
        .is_some_and(|a| a.snapshot == SnapshotState::Running);
    if snapshotting {
        return Verdict::bad(R::InitialSnapshot, "The initial snapshot is still being written.");
    }
    let names = accepted.datasets.iter().map(|d| d.name.as_str());
    let missed: Vec<&str> = names
        .zip(measured)
        .filter(|(_, m)| m.shown.is_some_and(|s| s.missed))
        .map(|(name, _)| name)
        .collect();
    let window = accepted.effective.freshness.window;
    if measured.iter().any(|m| m.shown.is_none()) {
        return Verdict::unknown(R::NotMeasured, not_measured(observed));
    }
    if missed.is_empty() {
        let text = format!(
            "Write to visible row within {} over {}.",
            short(objective),
            short(window)
        );
        return Verdict::good(R::WithinObjective, text);
    }
    let text = format!(
        "{} behind the objective of {} for {}; cause: {}; live figures: kubectl tributary status {} -n {}",
        missed.join(", "),
        short(objective),
        short(window),
        lag_cause::cause(observed, verdicts, &missed),
        accepted.effective.owner.name,
        accepted.effective.owner.namespace
    );
    Verdict::bad(R::LagExceedsObjective, text)
}

fn not_measured(observed: &Observed) -> &'static str {
    match observed.relay {
        RelayAnswer::Status(_) => "The relay has not measured every dataset yet.",
        RelayAnswer::NoPod => "There is no relay to measure.",
        RelayAnswer::Unreachable(_) => "The relay's status cannot be read.",
    }
}

/// Conditions that follow measurements change at most once per pause.
fn pace(verdicts: &mut Verdicts, previous: &[Condition], memory: &mut PipelineMemory, now: Timestamp) {
    let last = find(previous, C::Fresh.as_str());
    let Some((_, verdict)) = verdicts.iter_mut().find(|(c, _)| *c == C::Fresh) else {
        return;
    };
    // The cause inside a message follows measurements too.
    let changed = last.is_none_or(|l| {
        l.status != verdict.status
            || l.reason != verdict.reason.as_str()
            || l.message != clip(&verdict.message)
    });
    if !changed {
        return;
    }
    let early = memory
        .measured_change
        .is_some_and(|at| now.duration_since(at).unsigned_abs() < MEASURED_PAUSE);
    let measured_before = last.is_some_and(|l| {
        [R::WithinObjective, R::LagExceedsObjective]
            .iter()
            .any(|r| r.as_str() == l.reason)
    });
    if early && measured_before {
        verdicts.retain(|(c, _)| *c != C::Fresh);
    } else {
        memory.measured_change = Some(now);
    }
}

/// What the first gate that is not True says; of several verdicts on one condition the last one counts.
fn first_gate_reason(verdicts: &Verdicts) -> Option<R> {
    use tributary_crds::status::ConditionType;
    C::ALL
        .iter()
        .filter(|c| c.gates_ready())
        .filter_map(|c| verdicts.iter().rev().find(|(kind, _)| kind == c))
        .find(|(_, verdict)| verdict.status != ConditionStatus::True)
        .map(|(_, verdict)| verdict.reason)
}

fn stalled(verdicts: &Verdicts) -> Option<(R, String)> {
    verdicts
        .iter()
        .find(|(_, v)| v.status == ConditionStatus::False && stalled_reason(v.reason))
        .map(|(_, v)| (v.reason, v.message.clone()))
}

/// Reasons that no retry can help without a change by somebody.
fn stalled_reason(reason: R) -> bool {
    matches!(
        reason,
        R::InvalidSpec
            | R::MappingInvalid
            | R::TenantClaimed
            | R::TopicClaimed
            | R::CollectionClaimed
            | R::CapacityExceeded
            | R::LimitExceeded
            | R::TopicConflict
            | R::TopicRecreated
            | R::PartitionsChanged
            | R::TableConflict
            | R::DDLRefused
            | R::ConnectorConflict
            | R::LoadsRejected
            | R::PositionLost
            | R::ResumeTokenLost
            | R::OversizeEvent
    )
}

fn summaries(accepted: &Accepted, observed: &Observed, measured: &[Measured]) -> Vec<DatasetSummary> {
    let recorded = observed.ledger.as_ref().ok();
    accepted
        .effective
        .datasets
        .iter()
        .zip(&accepted.datasets)
        .zip(measured)
        .map(|((dataset, compiled), measured)| DatasetSummary {
            name: dataset.name.clone(),
            topic: dataset.topic.clone(),
            topic_generation: recorded
                .and_then(|e| Some(i32::from(e.datasets.get(&dataset.name)?.generation))),
            mapping_generation: recorded
                .and_then(|e| Some(i32::from(e.datasets.get(&dataset.name)?.mapping))),
            lag: measured.bucket.map(|b| b.to_string()),
            tables: tables(dataset, &compiled.tables),
        })
        .collect()
}

fn tables(dataset: &EffectiveDataset, compiled: &[TableConfig]) -> Vec<TableSummary> {
    dataset
        .tables
        .iter()
        .zip(compiled)
        .map(|(table, compiled)| TableSummary {
            name: table.entry().to_owned(),
            table: format!("{}.{}", compiled.database, compiled.table),
            from: match table {
                EffectiveTable::Own { .. } => None,
                EffectiveTable::Referenced { namespace, name, .. } => Some(format!("{namespace}/{name}")),
            },
        })
        .collect()
}

/// `2s`, `1m`, `1h30m`: durations as people write them.
pub(super) fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    let parts = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = millis;
    let mut text = String::new();
    for (unit, name) in parts {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
