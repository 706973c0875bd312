//! From what a controller saw to the conditions that are stored.

use jiff::{Timestamp, Unit};

use super::{Condition, ConditionReason, ConditionStatus, ConditionType, RECONCILING, STALLED, clip, find};

/// What was seen of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<R> {
    pub status: ConditionStatus,
    pub reason: R,
    pub message: String,
}

impl<R> Verdict<R> {
    pub fn good(reason: R, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::True, reason, message)
    }

    pub fn bad(reason: R, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::False, reason, message)
    }

    pub fn unknown(reason: R, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::Unknown, reason, message)
    }

    fn new(status: ConditionStatus, reason: R, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }
}

/// Whether an Unknown gate may leave `Ready` as it was: while rows still land, a control endpoint that is down does not
/// make a pipeline unready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Effects are still proven; keep the last `Ready`.
    Proven,
    NotProven,
}

/// Everything seen in one pass over one object.
#[derive(Clone, Debug)]
pub struct Observation<T: ConditionType> {
    pub generation: i64,
    /// What was looked at; types that are missing keep their last state, or stay `Unknown/NotYetChecked`.
    pub verdicts: Vec<(T, Verdict<T::Reason>)>,
    /// What `Ready` says when every gate is True.
    pub ready: Verdict<T::Reason>,
    pub held: Held,
    /// A generation newer than the one applied is being applied.
    pub reconciling: Option<(T::Reason, String)>,
    /// No retry can help without a change by somebody.
    pub stalled: Option<(T::Reason, String)>,
}

/// What goes into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    pub conditions: Vec<Condition>,
    /// The most severe thing that is not as it should be, else the good word.
    pub reason: String,
    pub message: String,
}

/// The conditions to store after `previous`: fixed order, `Ready` first, transition times kept where the status is the
/// same. Equal input gives equal output whatever `now` is, so an unchanged object is never written.
pub fn compose<T: ConditionType>(
    previous: &[Condition],
    observed: Observation<T>,
    now: Timestamp,
) -> Composed {
    let stamp = Stamp {
        previous,
        generation: observed.generation,
        now: now.round(Unit::Second).unwrap_or(now),
    };
    let mut rest: Vec<(T, Condition)> = Vec::with_capacity(T::ALL.len());
    for kind in T::ALL.iter().copied().skip(1) {
        let verdict = observed.verdicts.iter().rev().find(|(k, _)| *k == kind);
        let condition = match verdict {
            Some((_, verdict)) => stamp.condition(kind.as_str(), verdict),
            None => stamp.unobserved::<T>(kind),
        };
        rest.push((kind, condition));
    }
    let ready = ready(&stamp, &rest, &observed);
    let (reason, message) = headline(&ready, &rest);
    let mut conditions = vec![ready];
    conditions.extend(rest.into_iter().map(|(_, condition)| condition));
    for (kind, present) in [(RECONCILING, &observed.reconciling), (STALLED, &observed.stalled)] {
        if let Some((reason, message)) = present {
            conditions.push(stamp.condition(kind, &Verdict::good(*reason, message.as_str())));
        }
    }
    Composed {
        conditions,
        reason,
        message,
    }
}

/// `Ready`: the first gate that is False; else, with an Unknown gate, what it was while effects are proven, else that
/// gate; else the good verdict.
fn ready<T: ConditionType>(
    stamp: &Stamp<'_>,
    rest: &[(T, Condition)],
    observed: &Observation<T>,
) -> Condition {
    let name = T::ALL[0].as_str();
    let gates = || rest.iter().filter(|(k, _)| k.gates_ready()).map(|(_, c)| c);
    if let Some(bad) = gates().find(|c| c.status == ConditionStatus::False) {
        return stamp.restated(name, bad);
    }
    if let Some(unknown) = gates().find(|c| c.status == ConditionStatus::Unknown) {
        let was = find(stamp.previous, name).filter(|c| c.status != ConditionStatus::Unknown);
        return match (observed.held, was) {
            (Held::Proven, Some(was)) => stamp.restated(name, was),
            _ => stamp.restated(name, unknown),
        };
    }
    stamp.condition(name, &observed.ready)
}

/// `reason` and `message` of the object: `Ready` when it is not True, else the most severe shown condition that is False.
fn headline<T: ConditionType>(ready: &Condition, rest: &[(T, Condition)]) -> (String, String) {
    let shown = T::SHOWN.iter().find_map(|kind| {
        rest.iter()
            .find(|(k, c)| k == kind && c.status == ConditionStatus::False)
            .map(|(_, c)| c)
    });
    let source = match (ready.status, shown) {
        (ConditionStatus::True, Some(shown)) => shown,
        _ => ready,
    };
    (source.reason.clone(), source.message.clone())
}

struct Stamp<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
}

impl Stamp<'_> {
    fn condition<R: ConditionReason>(&self, kind: &str, verdict: &Verdict<R>) -> Condition {
        self.build(kind, verdict.status, verdict.reason.as_str(), &verdict.message)
    }

    /// Another condition's state under the name `kind`.
    fn restated(&self, kind: &str, source: &Condition) -> Condition {
        self.build(kind, source.status, &source.reason, &source.message)
    }

    fn unobserved<T: ConditionType>(&self, kind: T) -> Condition {
        match find(self.previous, kind.as_str()) {
            Some(last) => last.clone(),
            None => self.build(
                kind.as_str(),
                ConditionStatus::Unknown,
                T::Reason::NOT_YET_CHECKED.as_str(),
                "",
            ),
        }
    }

    fn build(&self, kind: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
        let since = find(self.previous, kind)
            .filter(|last| last.status == status)
            .map(|last| last.last_transition_time);
        Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: clip(message),
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or(self.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{PipelineCondition as C, PipelineReason as R};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn all_good() -> Vec<(C, Verdict<R>)> {
        vec![
            (C::Accepted, Verdict::good(R::Accepted, "")),
            (C::TopicsReady, Verdict::good(R::InSync, "")),
            (C::TablesReady, Verdict::good(R::InSync, "")),
            (C::RelayReady, Verdict::good(R::Running, "")),
            (C::ConnectorReady, Verdict::good(R::Streaming, "")),
            (C::SnapshotComplete, Verdict::good(R::Complete, "")),
            (C::Fresh, Verdict::good(R::WithinObjective, "")),
            (C::Lossless, Verdict::good(R::NothingParked, "")),
            (C::SourceExactlyOnce, Verdict::good(R::ExactlyOnce, "")),
        ]
    }

    fn seen(changes: Vec<(C, Verdict<R>)>) -> Observation<C> {
        let mut verdicts = all_good();
        verdicts.extend(changes);
        Observation {
            generation: 1,
            verdicts,
            ready: Verdict::good(R::Flowing, "1 dataset flows to StarRocks."),
            held: Held::NotProven,
            reconciling: None,
            stalled: None,
        }
    }

    fn word(composed: &Composed, kind: &str) -> String {
        find(&composed.conditions, kind)
            .map(|c| format!("{}/{}", c.status, c.reason))
            .unwrap_or_default()
    }

    #[test]
    fn all_conditions_exist_from_the_first_look_in_their_order() {
        let composed = compose::<C>(&[], seen(vec![]), at(10));
        let kinds: Vec<_> = composed.conditions.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "Ready",
                "Accepted",
                "TopicsReady",
                "TablesReady",
                "RelayReady",
                "ConnectorReady",
                "SnapshotComplete",
                "Fresh",
                "Lossless",
                "SourceExactlyOnce"
            ]
        );
        assert_eq!(composed.reason, "Flowing");
        let nothing = Observation {
            verdicts: vec![],
            ..seen(vec![])
        };
        let composed = compose::<C>(&[], nothing, at(10));
        assert!(composed.conditions.iter().all(|c| c.reason == "NotYetChecked"));
    }

    #[test]
    fn ready_is_the_first_gate_that_is_false_and_says_its_reason() {
        let composed = compose::<C>(
            &[],
            seen(vec![
                (C::ConnectorReady, Verdict::bad(R::TaskFailed, "task 0")),
                (
                    C::TablesReady,
                    Verdict::bad(R::TableConflict, "shop.orders belongs to somebody else"),
                ),
                (C::Fresh, Verdict::bad(R::LagExceedsObjective, "")),
            ]),
            at(10),
        );
        assert_eq!(word(&composed, "Ready"), "False/TableConflict");
        assert_eq!(composed.reason, "TableConflict");
        assert_eq!(composed.message, "shop.orders belongs to somebody else");
    }

    #[test]
    fn lag_does_not_clear_ready_but_is_the_headline() {
        let composed = compose::<C>(
            &[],
            seen(vec![(
                C::Fresh,
                Verdict::bad(R::LagExceedsObjective, "orders is behind"),
            )]),
            at(10),
        );
        assert_eq!(word(&composed, "Ready"), "True/Flowing");
        assert_eq!(composed.reason, "LagExceedsObjective");
    }

    #[test]
    fn a_control_endpoint_that_is_down_keeps_ready_while_rows_land() {
        let first = compose::<C>(&[], seen(vec![]), at(10));
        let down = vec![(
            C::ConnectorReady,
            Verdict::unknown(R::BackendUnavailable, "Connect is away"),
        )];
        let proven = Observation {
            held: Held::Proven,
            ..seen(down.clone())
        };
        let kept = compose(&first.conditions, proven, at(20));
        assert_eq!(word(&kept, "Ready"), "True/Flowing");
        assert_eq!(word(&kept, "ConnectorReady"), "Unknown/BackendUnavailable");
        let lost = compose(&kept.conditions, seen(down), at(30));
        assert_eq!(word(&lost, "Ready"), "Unknown/BackendUnavailable");
        assert_eq!(lost.message, "Connect is away");
    }

    #[test]
    fn nothing_but_a_status_change_moves_a_transition_time() {
        let first = compose::<C>(&[], seen(vec![]), at(10));
        assert_eq!(
            compose(&first.conditions, seen(vec![]), at(99)),
            first,
            "no write when only time passed"
        );
        let other = seen(vec![(C::Fresh, Verdict::good(R::NoObjective, "none set"))]);
        let second = compose(&first.conditions, other, at(20));
        let fresh = find(&second.conditions, "Fresh").unwrap();
        assert_eq!(
            (fresh.reason.as_str(), fresh.last_transition_time),
            ("NoObjective", at(10))
        );
        let bad = seen(vec![(C::Fresh, Verdict::bad(R::NoProgress, ""))]);
        let third = compose(&second.conditions, bad, at(30));
        assert_eq!(
            find(&third.conditions, "Fresh").unwrap().last_transition_time,
            at(30)
        );
        assert_eq!(
            find(&third.conditions, "Accepted").unwrap().last_transition_time,
            at(10)
        );
    }

    #[test]
    fn reconciling_and_stalled_are_there_only_while_true() {
        let busy = Observation {
            reconciling: Some((R::CreatingTopics, "generation 2".into())),
            ..seen(vec![])
        };
        let first = compose::<C>(&[], busy, at(10));
        assert_eq!(word(&first, RECONCILING), "True/CreatingTopics");
        let second = compose(&first.conditions, seen(vec![]), at(20));
        assert_eq!(word(&second, RECONCILING), "");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let cut = clip(&"ä".repeat(400));
        assert!(cut.len() <= super::super::MESSAGE_MAX && cut.ends_with('…'));
        assert_eq!(clip("short"), "short");
    }
}
