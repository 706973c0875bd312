//! Whether everything the source said is in the tables: as far as Kafka, the relay and the connector tell.

use tributary_crds::status::{
    Condition, ConditionStatus, PipelineCondition as C, PipelineReason as R, Verdict, find,
};

use super::observe::{Observed, RelayAnswer};
use super::plan::Plan;
use super::status::short;
use super::validate::Accepted;
use crate::backend::connect::ConnectorReason;

/// What was lost stays lost: the condition remembers it until somebody who read it changes the spec. Dead letters are there to
/// be seen in their topic, whatever became of the relay that parked them, and until they are gone from it.
pub(super) fn lossless(
    accepted: &Accepted,
    observed: &Observed,
    plan: &Plan,
    previous: &[Condition],
) -> Verdict<R> {
    if plan
        .assessment
        .as_ref()
        .is_some_and(|a| a.reason == ConnectorReason::ResumeTokenLost)
    {
        return Verdict::bad(
            R::HistoryGap,
            "Changes between the stored position and the source's oldest history are missing.",
        );
    }
    let last = find(previous, C::Lossless.as_str());
    if let Some(remembered) = last.and_then(|last| remembered(last, accepted)) {
        return remembered;
    }
    if let Some(truncated) = truncated(observed) {
        return truncated;
    }
    match (observed.dead_letters, last) {
        (Some(0), _) => {}
        (Some(letters), _) => return dead_lettered(accepted, letters),
        // Kafka does not say: what it said last still holds.
        (None, Some(last)) if last.reason == R::RowsDeadLettered.as_str() => {
            return Verdict::bad(R::RowsDeadLettered, last.message.as_str());
        }
        (None, _) => return unmeasured(last),
    }
    match observed.relay {
        RelayAnswer::Status(_) => Verdict::good(R::NothingParked, "No document is parked, no value was cut."),
        RelayAnswer::NoPod | RelayAnswer::Unreachable(_) => unmeasured(last),
    }
}

fn remembered(last: &Condition, accepted: &Accepted) -> Option<Verdict<R>> {
    let same_spec = Some(last.observed_generation) == accepted.pipeline.metadata.generation;
    let reason = [R::HistoryGap, R::OverflowTruncated]
        .into_iter()
        .find(|reason| reason.as_str() == last.reason)?;
    (same_spec && last.status == ConditionStatus::False).then(|| Verdict::bad(reason, last.message.as_str()))
}

fn truncated(observed: &Observed) -> Option<Verdict<R>> {
    let RelayAnswer::Status(status) = &observed.relay else {
        return None;
    };
    let cut = |tables: &[tributary_crds::relay::TableStatus]| tables.iter().any(|t| t.overflow_truncated > 0);
    let dataset = status.datasets.iter().find(|d| cut(&d.tables))?;
    Some(Verdict::bad(
        R::OverflowTruncated,
        format!(
            "{}: the _extra of some rows was larger than 64 KiB and was cut; bronze or the source still has it.",
            dataset.name
        ),
    ))
}

fn dead_lettered(accepted: &Accepted, letters: u64) -> Verdict<R> {
    let text = format!(
        "{} document(s) that no table takes wait in the dead-letter topic {}, each with its reason and its place; Kafka keeps them for {}.",
        bucket(letters),
        accepted.effective.dead_letter_topic(),
        short(accepted.effective.topics.retention),
    );
    Verdict::bad(R::RowsDeadLettered, text)
}

/// Nobody tells: what was good stays so.
fn unmeasured(last: Option<&Condition>) -> Verdict<R> {
    match last.filter(|last| last.status == ConditionStatus::True) {
        Some(last) => Verdict::good(R::NothingParked, last.message.as_str()),
        None => Verdict::unknown(R::NotMeasured, "Neither Kafka nor the relay has told yet."),
    }
}

/// Live figures stay out of statuses.
fn bucket(letters: u64) -> &'static str {
    match letters {
        0..10 => "<10",
        10..100 => "<100",
        100..1_000 => "<1k",
        1_000..10_000 => "<10k",
        _ => ">10k",
    }
}
