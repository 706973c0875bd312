//! One verdict per condition, each from the layer it speaks of.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tributary_crds::relay::{BlockedCause, KafkaCause, LaneState, RelayPhase, RelayStatus, TableStatus};
use tributary_crds::status::{PipelineCondition as C, PipelineReason as R, Verdict};

use super::apply::{Cause, Failure, Layer};
use super::observe::{Observed, RelayAnswer};
use super::plan::ProblemKind;
use super::plan::{ConnectorView, Plan, RelayView, TablesView, TopicsView};
use super::validate::Accepted;
use crate::backend::connect::connector::ExactlyOnce;
use crate::backend::connect::{ConnectorReason, SnapshotState};
use crate::backend::{BackendError, ErrorClass};

/// Retrying one load for this long means that rows do not flow.
const STUCK: Duration = Duration::from_secs(60);

pub type Verdicts = Vec<(C, Verdict<R>)>;

/// Everything but the measured conditions (Fresh and Lossless).
pub fn layers(
    accepted: &Accepted,
    observed: &Observed,
    plan: &Plan,
    failures: &[Failure],
    restarts: u32,
    now_ms: u64,
) -> Verdicts {
    let mut verdicts = vec![
        (C::Accepted, accepted_verdict(accepted, observed)),
        (C::TopicsReady, topics(accepted, plan)),
        (C::TablesReady, tables(&plan.tables, accepted)),
        (C::RelayReady, relay(observed, &plan.relay, now_ms)),
        (
            C::ConnectorReady,
            connector(&plan.connector, plan, observed, restarts),
        ),
    ];
    if let Some(snapshot) = snapshot(plan) {
        verdicts.push((C::SnapshotComplete, snapshot));
    }
    if let Some(verdict) = exactly_once(plan) {
        verdicts.push((C::SourceExactlyOnce, verdict));
    }
    for failure in failures {
        verdicts.push(failed(failure));
    }
    verdicts
}

fn accepted_verdict(accepted: &Accepted, observed: &Observed) -> Verdict<R> {
    let effective = &accepted.effective;
    match &observed.ledger {
        Ok(_) => Verdict::good(
            R::Accepted,
            format!(
                "Platform {}/{}; tenant {} claimed by this pipeline.",
                effective.platform.namespace.as_deref().unwrap_or_default(),
                effective.platform.name,
                effective.tenant
            ),
        ),
        Err(error) => backend(error),
    }
}

fn topics(accepted: &Accepted, plan: &Plan) -> Verdict<R> {
    match &plan.topics {
        TopicsView::Ready => {
            let count = accepted.datasets.len();
            Verdict::good(R::InSync, format!("In place: {}.", plural(count, "topic")))
        }
        TopicsView::Creating(names) => {
            Verdict::bad(R::CreatingTopics, format!("Creating {}.", names.join(", ")))
        }
        TopicsView::Conflict(why) => Verdict::bad(R::TopicConflict, why.as_str()),
        TopicsView::Recreated(why) => Verdict::bad(R::TopicRecreated, why.as_str()),
        TopicsView::PartitionsChanged(why) => Verdict::bad(R::PartitionsChanged, why.as_str()),
        TopicsView::Unavailable(error) => backend(error),
    }
}

fn tables(view: &TablesView, accepted: &Accepted) -> Verdict<R> {
    match view {
        TablesView::Ready => {
            let count: usize = accepted.datasets.iter().map(|d| d.tables.len()).sum();
            Verdict::good(R::InSync, format!("In place: {}.", plural(count, "table")))
        }
        TablesView::Unknown(message) => Verdict::unknown(R::BackendUnavailable, message.as_str()),
        TablesView::NotReady(problem) => {
            let reason = match problem.kind {
                ProblemKind::NotReady => R::ChildNotReady,
                ProblemKind::Conflict => R::TableConflict,
                ProblemKind::Refused => R::DDLRefused,
            };
            Verdict::bad(reason, problem.message.as_str())
        }
    }
}

fn relay(observed: &Observed, view: &RelayView, now_ms: u64) -> Verdict<R> {
    match view {
        RelayView::Paused => {
            return Verdict::good(R::Paused, "Nothing is loaded, as asked; the position stays.");
        }
        RelayView::Halted => {
            return Verdict::bad(R::RollingOut, "The relay is stopped: see TopicsReady.");
        }
        RelayView::Current | RelayView::Waiting | RelayView::RollingOut(_) | RelayView::Unrenderable(_) => {}
    }
    if let Some(why) = crash_loop(&observed.pods) {
        return Verdict::bad(R::CrashLooping, why);
    }
    if let RelayAnswer::Status(status) = &observed.relay
        && let Some(bad) = kafka(status, now_ms).or_else(|| lanes(status, now_ms))
    {
        return bad;
    }
    match (view, &observed.relay) {
        (RelayView::Unrenderable(why), _) => Verdict::bad(R::RollingOut, why.as_str()),
        (RelayView::Paused | RelayView::Halted, _) => Verdict::good(R::Paused, ""),
        // It ran when it was last asked, and its pod is there: not known is not broken.
        (_, RelayAnswer::Unreachable(why)) if pod_is_ready(&observed.pods) => Verdict::unknown(
            R::RelayUnreachable,
            format!("The relay's pod is ready and its status cannot be read: {why}."),
        ),
        (RelayView::Current, _) => Verdict::good(R::Running, "The relay runs with the newest mapping."),
        (RelayView::RollingOut(why), _) => {
            let why = image_problem(&observed.pods).unwrap_or_else(|| why.clone());
            Verdict::bad(R::RollingOut, why)
        }
        (RelayView::Waiting, RelayAnswer::Status(status)) if status.phase == RelayPhase::Running => {
            Verdict::good(
                R::Running,
                "The relay runs; a newer mapping waits for topics and tables.",
            )
        }
        (RelayView::Waiting, _) => Verdict::bad(R::RollingOut, "The relay waits for topics and tables."),
    }
}

/// What keeps the relay from Kafka, in its own words. A broker that restarts is no news.
fn kafka(status: &RelayStatus, now_ms: u64) -> Option<Verdict<R>> {
    let trouble = status.kafka.as_ref()?;
    let long = Duration::from_millis(now_ms.saturating_sub(trouble.since_ms)) > STUCK;
    if trouble.cause == KafkaCause::Unreachable && !long {
        return None;
    }
    let reason = match trouble.cause {
        KafkaCause::Unreachable => R::BackendUnavailable,
        KafkaCause::AuthenticationFailed => R::AuthenticationFailed,
        KafkaCause::TlsFailed => R::TlsFailed,
    };
    Some(Verdict::bad(
        reason,
        format!("The relay cannot use Kafka: {}.", trouble.message),
    ))
}

/// The first lane that stands still, or has been retrying the same load for long.
fn lanes(status: &RelayStatus, now_ms: u64) -> Option<Verdict<R>> {
    let tables = || status.datasets.iter().flat_map(|d| d.tables.iter());
    let name = |t: &TableStatus| format!("{}.{}", t.database, t.table);
    for table in tables() {
        if let LaneState::Blocked {
            cause, message, at, ..
        } = &table.lane
        {
            let place = at
                .as_ref()
                .map(|p| format!(" at {}, partition {}, offset {}", p.topic, p.partition, p.offset))
                .unwrap_or_default();
            return Some(Verdict::bad(
                blocked(*cause),
                format!("{} stands still{place}: {message}", name(table)),
            ));
        }
    }
    for table in tables() {
        if let LaneState::Retrying {
            cause,
            message,
            since_ms,
            ..
        } = &table.lane
            && Duration::from_millis(now_ms.saturating_sub(*since_ms)) > STUCK
        {
            let text = format!(
                "{} has taken no load for more than {} s ({cause:?}): {message}. Nothing is lost; the same load is retried.",
                name(table),
                STUCK.as_secs()
            );
            return Some(Verdict::bad(R::NoProgress, text));
        }
    }
    None
}

fn blocked(cause: BlockedCause) -> R {
    match cause {
        BlockedCause::AuthenticationFailed => R::AuthenticationFailed,
        BlockedCause::TlsFailed => R::TlsFailed,
        BlockedCause::UnknownTable | BlockedCause::UnknownColumn | BlockedCause::LoadsRejected => {
            R::LoadsRejected
        }
        BlockedCause::PositionLost => R::PositionLost,
        BlockedCause::PartitionsChanged => R::PartitionsChanged,
        BlockedCause::ConfigurationOutdated => R::RollingOut,
    }
}

/// Whether rows still land: then a control endpoint that is away does not clear `Ready`.
pub fn rows_land(observed: &Observed, now_ms: u64) -> bool {
    match &observed.relay {
        RelayAnswer::Status(status) => {
            let troubled = kafka(status, now_ms).is_some() || lanes(status, now_ms).is_some();
            status.phase == RelayPhase::Running && !troubled
        }
        RelayAnswer::NoPod | RelayAnswer::Unreachable(_) => false,
    }
}

fn connector(view: &ConnectorView, plan: &Plan, observed: &Observed, restarts: u32) -> Verdict<R> {
    match view {
        ConnectorView::Unavailable(error) => backend(error),
        ConnectorView::Foreign(ownership) => Verdict::bad(
            R::ConnectorConflict,
            format!("A connector of this name exists and is not ours ({ownership:?}): it is left alone."),
        ),
        ConnectorView::Refused(refusal) => {
            let reason = if refusal.source_unreachable {
                R::SourceUnreachable
            } else {
                R::ConfigInvalid
            };
            let text = format!(
                "{} A credential that was just written reaches Connect's pods within a minute or two.",
                refusal.message
            );
            Verdict::bad(reason, text)
        }
        ConnectorView::Pending(why) => match &observed.mirrored {
            Err(error) => Verdict::bad(
                R::NotAuthorized,
                format!("The source's credential cannot be mirrored: {error}."),
            ),
            Ok(_) => Verdict::bad(R::Creating, *why),
        },
        ConnectorView::NotWanted => Verdict::good(R::Stopped, "There is no connector, as asked."),
        ConnectorView::Present => match &plan.assessment {
            Some(assessment) => {
                let reason = connector_reason(assessment.reason);
                if assessment.reason.is_ready() {
                    Verdict::good(reason, assessment.message.as_str())
                } else {
                    let text = match restarts {
                        0 => assessment.message.clone(),
                        1 => format!("{} Restarted once.", assessment.message),
                        n => format!("{} Restarted {n} times.", assessment.message),
                    };
                    Verdict::bad(reason, text)
                }
            }
            None => Verdict::bad(
                R::Creating,
                "Kafka Connect has said nothing about the connector yet.",
            ),
        },
    }
}

fn connector_reason(reason: ConnectorReason) -> R {
    match reason {
        ConnectorReason::Streaming => R::Streaming,
        ConnectorReason::Snapshotting => R::Snapshotting,
        ConnectorReason::Stopped => R::Stopped,
        ConnectorReason::Creating => R::Creating,
        ConnectorReason::NoTaskAssigned => R::NoTaskAssigned,
        ConnectorReason::TaskFailed => R::TaskFailed,
        ConnectorReason::OversizeEvent => R::OversizeEvent,
        ConnectorReason::NoProgress => R::NoProgress,
        ConnectorReason::SourceUnreachable => R::SourceUnreachable,
        ConnectorReason::AuthenticationFailed => R::AuthenticationFailed,
        ConnectorReason::ResumeTokenLost => R::ResumeTokenLost,
        ConnectorReason::ConfigInvalid => R::ConfigInvalid,
    }
}

fn snapshot(plan: &Plan) -> Option<Verdict<R>> {
    let assessment = plan.assessment.as_ref()?;
    Some(match assessment.snapshot {
        SnapshotState::Complete => Verdict::good(R::Complete, "The initial snapshot has been written."),
        SnapshotState::Skipped => {
            Verdict::good(R::Skipped, "snapshot.mode is NoData: only changes are read.")
        }
        SnapshotState::Running if assessment.reason == ConnectorReason::Snapshotting => {
            Verdict::bad(R::Running, running(plan))
        }
        SnapshotState::Running if assessment.reason == ConnectorReason::Creating => Verdict::unknown(
            R::NotYetChecked,
            "The connector has not begun the initial snapshot.",
        ),
        SnapshotState::Running => Verdict::bad(
            R::Interrupted,
            "The initial snapshot has not ended; it starts over when the connector runs.",
        ),
    })
}

fn running(plan: &Plan) -> String {
    match &plan.added {
        None => "The initial snapshot is being read.".to_owned(),
        Some(added) if added.collections.is_empty() => {
            "Collections that joined have been read; the stream takes them over.".to_owned()
        }
        Some(added) => {
            let names: Vec<&str> = added.collections.iter().map(String::as_str).collect();
            format!("Joined and not read yet: {}.", names.join(", "))
        }
    }
}

/// Rule 6: older state at a newer offset cannot be seen from `_ver`; where the source may send it, that is said.
fn exactly_once(plan: &Plan) -> Option<Verdict<R>> {
    if let ConnectorView::Unavailable(error) = &plan.connector {
        return Some(Verdict::unknown(R::BackendUnavailable, unreachable_text(error)));
    }
    Some(match plan.exactly_once? {
        ExactlyOnce::Required => Verdict::good(
            R::ExactlyOnce,
            "The connector commits records and positions in one transaction.",
        ),
        ExactlyOnce::Requested => Verdict::bad(
            R::AtLeastOnce,
            "The Connect workers have exactly.once.source.support disabled: after a crash of a worker the changes of its last minute come again, and rows show older state until the last of them has passed. Enable it on every worker.",
        ),
    })
}

/// What a backend's failure means for the layer that needs it.
fn backend(error: &BackendError) -> Verdict<R> {
    let text = format!("{error}.");
    match error.class {
        ErrorClass::Unreachable | ErrorClass::CircuitOpen | ErrorClass::Transient => {
            Verdict::unknown(R::BackendUnavailable, unreachable_text(error))
        }
        ErrorClass::AuthenticationFailed => Verdict::bad(R::AuthenticationFailed, text),
        ErrorClass::NotAuthorized => Verdict::bad(R::NotAuthorized, text),
        ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Invalid | ErrorClass::Unsupported => {
            Verdict::unknown(R::BackendUnavailable, text)
        }
    }
}

/// The same words whichever call failed and however: a status must not change because another call met the same outage.
fn unreachable_text(error: &BackendError) -> String {
    format!(
        "{} does not answer; its state is not known, what runs goes on.",
        error.backend
    )
}

fn failed(failure: &Failure) -> (C, Verdict<R>) {
    let condition = match failure.layer {
        Layer::Ledger => C::Accepted,
        Layer::Topics => C::TopicsReady,
        Layer::Tables => C::TablesReady,
        Layer::Relay => C::RelayReady,
        Layer::Connector => C::ConnectorReady,
    };
    let verdict = match &failure.cause {
        Cause::Backend(error) => match (failure.layer, error.class) {
            (Layer::Topics, ErrorClass::Invalid | ErrorClass::Conflict) => {
                Verdict::bad(R::TopicConflict, format!("{error}."))
            }
            (Layer::Connector, ErrorClass::Invalid | ErrorClass::Conflict) => {
                Verdict::bad(R::ConfigInvalid, format!("{error}."))
            }
            _ => backend(error),
        },
        Cause::Kubernetes(error) if error.is_forbidden() => {
            Verdict::bad(R::NotAuthorized, format!("{error}."))
        }
        Cause::Kubernetes(error) => Verdict::unknown(R::BackendUnavailable, format!("{error}.")),
    };
    (condition, verdict)
}

fn pod_is_ready(pods: &[Pod]) -> bool {
    pods.iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
        .any(|pod| {
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        })
}

fn waiting_reasons(pods: &[Pod]) -> impl Iterator<Item = (&str, &str)> {
    pods.iter()
        .filter_map(|p| p.status.as_ref()?.container_statuses.as_ref())
        .flatten()
        .filter_map(|c| c.state.as_ref()?.waiting.as_ref())
        .map(|w| {
            (
                w.reason.as_deref().unwrap_or_default(),
                w.message.as_deref().unwrap_or_default(),
            )
        })
}

fn crash_loop(pods: &[Pod]) -> Option<String> {
    let looping = waiting_reasons(pods).any(|(reason, _)| reason == "CrashLoopBackOff");
    looping.then(|| {
        "The relay's container ends again and again: read its log with kubectl logs --previous.".to_owned()
    })
}

fn image_problem(pods: &[Pod]) -> Option<String> {
    waiting_reasons(pods)
        .find(|(reason, _)| reason.contains("Image") || *reason == "CreateContainerConfigError")
        .map(|(reason, message)| format!("The relay's pod cannot start ({reason}): {message}"))
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
