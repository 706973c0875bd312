//! From an outcome to conditions.

use jiff::Timestamp;
use tributary_crds::status::clip;
use tributary_crds::status::{
    Composed, ConditionStatus, Held, Observation, TableCondition as C, TableReason as R, Verdict, compose,
    find,
};
use tributary_crds::table::{StarRocksTable, StarRocksTableStatus};

use super::ddl::Refusal;
use super::dereference::Referenced;
use super::plan::{Outcome, Planned};
use super::validate::{Refused, Valid};
use crate::backend::{BackendError, ErrorClass};

pub fn status(
    table: &StarRocksTable,
    refs: &Referenced,
    valid: &Valid,
    outcome: &Outcome,
    now: Timestamp,
) -> StarRocksTableStatus {
    let name = valid.desired.name.to_string();
    let accepted = (C::Accepted, Verdict::good(R::Accepted, ""));
    let (mut verdicts, stalled) = judge(&name, outcome);
    verdicts.push(accepted);
    let pipelines = match refs.writers {
        1 => "1 pipeline".to_owned(),
        n => format!("{n} pipelines"),
    };
    let observation = Observation {
        generation: table.metadata.generation.unwrap_or_default(),
        verdicts,
        ready: Verdict::good(R::InSync, format!("{name} serves {pipelines}.")),
        // Tables are there while the FE is away: loads may still land.
        held: match outcome {
            Outcome::Unavailable(error) if error.is_retryable() => Held::Proven,
            _ => Held::NotProven,
        },
        reconciling: None,
        stalled,
    };
    let columns = match outcome {
        Outcome::Planned(planned) => planned.live_columns,
        _ => None,
    };
    build(table, refs, Some(name), columns, observation, now)
}

pub fn refused(
    table: &StarRocksTable,
    refs: &Referenced,
    refused: &Refused,
    now: Timestamp,
) -> StarRocksTableStatus {
    let observation = Observation {
        generation: table.metadata.generation.unwrap_or_default(),
        verdicts: vec![(
            C::Accepted,
            Verdict::bad(refused.reason, refused.message.as_str()),
        )],
        ready: Verdict::good(R::InSync, ""),
        held: Held::NotProven,
        reconciling: None,
        stalled: Some((refused.reason, refused.message.clone())),
    };
    build(table, refs, None, None, observation, now)
}

/// The status while deletion waits.
pub fn waiting(table: &StarRocksTable, reason: R, message: &str, now: Timestamp) -> StarRocksTableStatus {
    let previous = table.status.clone().unwrap_or_default();
    let verdict = Verdict::bad(reason, message);
    let observation = Observation {
        generation: table.metadata.generation.unwrap_or_default(),
        verdicts: vec![(C::Exists, verdict.clone())],
        ready: verdict,
        held: Held::NotProven,
        reconciling: None,
        stalled: None,
    };
    let generation = observation.generation;
    let composed = compose(&previous.conditions, observation, now);
    StarRocksTableStatus {
        conditions: composed.conditions,
        reason: Some(reason.as_str().to_owned()),
        message: Some(clip(message)),
        observed_generation: generation,
        ..previous
    }
}

pub fn is_ready(status: &StarRocksTableStatus) -> bool {
    let is_true = |kind| find(&status.conditions, kind).is_some_and(|c| c.status == ConditionStatus::True);
    is_true("Ready") && is_true("InSync")
}

type Judgement = (Vec<(C, Verdict<R>)>, Option<(R, String)>);

fn judge(name: &str, outcome: &Outcome) -> Judgement {
    match outcome {
        Outcome::Planned(planned) => (planned_verdicts(name, planned), None),
        Outcome::Refused(refusal) => {
            let reason = match refusal {
                Refusal::OwnedByOther { .. } | Refusal::NotAdopted { .. } => R::TableConflict,
                Refusal::Rule { .. } | Refusal::VersionTooOld { .. } => R::DDLRefused,
            };
            let message = format!("{refusal}.");
            let verdict = Verdict::bad(reason, message.as_str());
            (
                vec![(C::Exists, verdict.clone()), (C::InSync, verdict)],
                Some((reason, message)),
            )
        }
        Outcome::Failed(error) => {
            let verdict = failure(error);
            (vec![(C::Exists, verdict.clone()), (C::InSync, verdict)], None)
        }
        Outcome::Unavailable(error) => {
            let verdict = match failure(error) {
                _ if error.is_retryable() => Verdict::unknown(R::BackendUnavailable, away(error)),
                v => v,
            };
            (vec![(C::Exists, verdict.clone()), (C::InSync, verdict)], None)
        }
    }
}

fn planned_verdicts(name: &str, planned: &Planned) -> Vec<(C, Verdict<R>)> {
    let drift = planned.difference.as_ref().map(|text| {
        Verdict::bad(
            R::LiveDrift,
            format!("{name} differs from the spec and is left alone: {text}."),
        )
    });
    let exists = if let Some(drift) = drift.clone().filter(|_| planned.blocks_loads) {
        drift
    } else if planned.exists {
        Verdict::good(R::Exists, format!("{name} exists and is ours."))
    } else {
        Verdict::bad(R::Creating, format!("{name} was created and is not visible yet."))
    };
    let in_sync = match (drift, planned.actions.as_slice()) {
        (Some(drift), _) => drift,
        (None, []) => Verdict::good(R::InSync, ""),
        (None, [first, ..]) => Verdict::bad(
            R::SchemaJobRunning,
            format!("{} is not visible yet.", first.summary()),
        ),
    };
    vec![(C::Exists, exists), (C::InSync, in_sync)]
}

/// The same words whichever call met the outage: a status must not change because another one did.
pub fn away(error: &BackendError) -> String {
    format!(
        "{} does not answer; what the table looks like is not known.",
        error.backend
    )
}

fn failure(error: &BackendError) -> Verdict<R> {
    let reason = match error.class {
        ErrorClass::Unreachable | ErrorClass::CircuitOpen | ErrorClass::Transient => R::BackendUnavailable,
        ErrorClass::AuthenticationFailed => R::AuthenticationFailed,
        ErrorClass::NotAuthorized => R::NotAuthorized,
        ErrorClass::Conflict => R::TableConflict,
        ErrorClass::NotFound | ErrorClass::Invalid | ErrorClass::Unsupported => R::DDLRefused,
    };
    Verdict::bad(reason, error.to_string())
}

fn build(
    table: &StarRocksTable,
    refs: &Referenced,
    name: Option<String>,
    columns: Option<usize>,
    observation: Observation<C>,
    now: Timestamp,
) -> StarRocksTableStatus {
    let previous = table.status.clone().unwrap_or_default();
    let count = |n: usize| i32::try_from(n).ok();
    let observed_generation = observation.generation;
    let Composed {
        conditions,
        reason,
        message,
    } = compose(&previous.conditions, observation, now);
    StarRocksTableStatus {
        observed_generation,
        reason: Some(reason),
        message: Some(message),
        table: name.or(previous.table),
        columns: columns.and_then(count).or(previous.columns),
        writers: count(refs.writers),
        conditions,
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::{refs, table};
    use super::super::validate::validate;
    use super::*;
    use crate::backend::Backend;

    fn seen(outcome: &Outcome) -> StarRocksTableStatus {
        let valid = validate(&table(), &refs()).unwrap();
        status(&table(), &refs(), &valid, outcome, Timestamp::UNIX_EPOCH)
    }

    fn in_sync() -> Outcome {
        Outcome::Planned(Planned {
            actions: vec![],
            exists: true,
            live_columns: Some(2),
            difference: None,
            blocks_loads: false,
        })
    }

    #[test]
    fn a_table_in_sync_is_ready_and_stays_unwritten() {
        let first = seen(&in_sync());
        assert!(is_ready(&first), "{first:?}");
        assert_eq!(
            (first.table.as_deref(), first.columns),
            (Some("shop.orders"), Some(2))
        );
        let mut again = table();
        again.status = Some(first.clone());
        let valid = validate(&again, &refs()).unwrap();
        assert_eq!(
            status(&again, &refs(), &valid, &in_sync(), Timestamp::now()),
            first
        );
    }

    #[test]
    fn somebody_elses_table_is_a_conflict_that_waits_for_a_person() {
        let refusal = Refusal::OwnedByOther {
            table: super::super::ddl::TableName::new("shop", "orders"),
            owner: "tributary:other/x/y".into(),
        };
        let status = seen(&Outcome::Refused(refusal));
        assert_eq!(status.reason.as_deref(), Some("TableConflict"));
        assert!(find(&status.conditions, "Stalled").is_some());
    }

    #[test]
    fn a_cluster_that_is_away_makes_it_unknown_and_keeps_ready() {
        let mut up = table();
        up.status = Some(seen(&in_sync()));
        let valid = validate(&up, &refs()).unwrap();
        let error = BackendError::new(
            Backend::StarRocks,
            ErrorClass::Unreachable,
            "probe",
            "connection refused",
        );
        let next = status(
            &up,
            &refs(),
            &valid,
            &Outcome::Unavailable(error),
            Timestamp::UNIX_EPOCH,
        );
        let word = |kind: &str| find(&next.conditions, kind).map(|c| (c.status, c.reason.clone()));
        assert_eq!(
            word("Exists"),
            Some((ConditionStatus::Unknown, "BackendUnavailable".into()))
        );
        assert_eq!(word("Ready"), Some((ConditionStatus::True, "InSync".into())));
    }
}
