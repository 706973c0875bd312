//! From an outcome to conditions.

use jiff::Timestamp;
use tributary_crds::status::clip;
use tributary_crds::status::{
    Composed, ConditionStatus, Held, Observation, TableCondition as C, TableReason as R, Verdict, compose,
    find,
};
use tributary_crds::table::{LiveStatus, StarRocksTable, StarRocksTableStatus};

use super::ddl::Refusal;
use super::dereference::Referenced;
use super::grants::Granted;
use super::plan::{Outcome, Planned};
use super::validate::{Refused, Valid};
use crate::backend::{BackendError, ErrorClass};

/// What one pass over a table found.
pub struct Seen {
    pub outcome: Outcome,
    /// `None`: there was nothing yet to grant on.
    pub granted: Option<Result<Granted, BackendError>>,
}

pub fn status(
    table: &StarRocksTable,
    refs: &Referenced,
    valid: &Valid,
    seen: &Seen,
    now: Timestamp,
) -> StarRocksTableStatus {
    let outcome = &seen.outcome;
    let name = valid.readable().1.to_string();
    let accepted = (C::Accepted, Verdict::good(R::Accepted, ""));
    let (mut verdicts, stalled) = judge(&name, outcome);
    verdicts.push(accepted);
    match &seen.granted {
        Some(Ok(granted)) => verdicts.push((C::GrantsApplied, granted.verdict.clone())),
        Some(Err(error)) => verdicts.push((C::GrantsApplied, ungranted(error))),
        None => {}
    }
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
    let generation = observation.generation;
    let mut next = build(table, refs, Some(name), observation, now);
    if let Outcome::Planned(planned) = outcome {
        remember(&mut next, planned, generation);
    }
    if let Some(Ok(granted)) = &seen.granted {
        next.grants.clone_from(&granted.recorded);
    }
    next
}

/// What only a look at the table tells. A table that cannot be looked at keeps what was last seen.
fn remember(status: &mut StarRocksTableStatus, planned: &Planned, generation: i64) {
    status.columns = planned
        .live_columns
        .and_then(|n| i32::try_from(n).ok())
        .or(status.columns);
    status.job = planned
        .waiting
        .as_ref()
        .and_then(|w| w.turn.told())
        .map(|(_, told)| told.short());
    if !planned.exists {
        return;
    }
    let aligned = planned.actions.is_empty() && planned.waiting.is_none() && planned.difference.is_none();
    let before = status.live.take().unwrap_or_default();
    status.live = Some(LiveStatus {
        columns: planned.verified.clone(),
        taken_away: planned.taken_away.clone(),
        aligned_generation: match aligned {
            true => generation,
            false => before.aligned_generation,
        },
    });
}

fn ungranted(error: &BackendError) -> Verdict<R> {
    match error.is_retryable() {
        true => Verdict::unknown(R::BackendUnavailable, away(error)),
        false => failure(error),
    }
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
    build(table, refs, None, observation, now)
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

/// Whether nothing is under way: what is otherwise than asked waits for a person, who comes with an event.
pub fn is_settled(status: &StarRocksTableStatus) -> bool {
    let is = |kind, wanted| find(&status.conditions, kind).is_some_and(|c| c.status == wanted);
    let told = [R::LiveDrift, R::AwaitingApproval, R::DDLRefused].map(R::as_str);
    let in_sync = find(&status.conditions, "InSync");
    is("Ready", ConditionStatus::True)
        && in_sync.is_some_and(|c| c.status == ConditionStatus::True || told.contains(&c.reason.as_str()))
        && !is("GrantsApplied", ConditionStatus::Unknown)
}

type Judgement = (Vec<(C, Verdict<R>)>, Option<(R, String)>);

fn judge(name: &str, outcome: &Outcome) -> Judgement {
    match outcome {
        Outcome::Planned(planned) => (planned_verdicts(name, planned), None),
        Outcome::Refused(refusal) => {
            let reason = match refusal {
                Refusal::OwnedByOther { .. } | Refusal::NotAdopted { .. } | Refusal::NameTaken { .. } => {
                    R::TableConflict
                }
                Refusal::Rule { .. } | Refusal::VersionTooOld { .. } => R::DDLRefused,
                Refusal::Vanished { .. } => R::LiveDrift,
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
    let drift = planned
        .difference
        .as_ref()
        .map(|told| Verdict::bad(told.reason, format!("{name} {}", told.text)));
    let waiting = planned.waiting.as_ref().and_then(|waiting| {
        let (reason, told) = waiting.turn.told()?;
        Some(Verdict::bad(
            reason,
            format!(
                "Columns {} of {name} are not there yet, and no mapping names them: {told}.",
                waiting.columns.join(", ")
            ),
        ))
    });
    let exists = if let Some(drift) = drift.clone().filter(|_| planned.blocks_loads) {
        drift
    } else if planned.exists {
        Verdict::good(R::Exists, format!("{name} exists and is ours."))
    } else {
        Verdict::bad(R::Creating, format!("{name} was created and is not visible yet."))
    };
    let in_sync = match (waiting.or(drift), planned.actions.as_slice()) {
        (Some(bad), _) => bad,
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
        writers: count(refs.writers),
        conditions,
        columns: previous.columns,
        live: previous.live,
        grants: previous.grants,
        job: previous.job,
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::{refs, table};
    use super::super::validate::validate;
    use super::*;
    use crate::backend::Backend;

    fn seen(outcome: Outcome) -> StarRocksTableStatus {
        let valid = validate(&table(), &refs()).unwrap();
        let seen = Seen {
            outcome,
            granted: Some(Ok(Granted {
                recorded: vec![],
                verdict: Verdict::good(R::NotConfigured, ""),
            })),
        };
        status(&table(), &refs(), &valid, &seen, Timestamp::UNIX_EPOCH)
    }

    fn in_sync() -> Outcome {
        Outcome::Planned(Planned {
            actions: vec![],
            exists: true,
            live_columns: Some(2),
            verified: vec!["order_id".into(), "total".into()],
            taken_away: vec![],
            waiting: None,
            difference: None,
            blocks_loads: false,
        })
    }

    #[test]
    fn a_table_in_sync_is_ready_and_stays_unwritten() {
        let first = seen(in_sync());
        assert!(is_settled(&first), "{first:?}");
        assert_eq!(
            (first.table.as_deref(), first.columns),
            (Some("shop.orders"), Some(2))
        );
        let mut again = table();
        again.status = Some(first.clone());
        let valid = validate(&again, &refs()).unwrap();
        assert_eq!(
            status(
                &again,
                &refs(),
                &valid,
                &Seen {
                    outcome: in_sync(),
                    granted: None
                },
                Timestamp::now()
            ),
            first
        );
    }

    #[test]
    fn somebody_elses_table_is_a_conflict_that_waits_for_a_person() {
        let refusal = Refusal::OwnedByOther {
            table: super::super::ddl::TableName::new("shop", "orders"),
            owner: "tributary:other/x/y".into(),
        };
        let status = seen(Outcome::Refused(refusal));
        assert_eq!(status.reason.as_deref(), Some("TableConflict"));
        assert!(find(&status.conditions, "Stalled").is_some());
    }

    #[test]
    fn a_cluster_that_is_away_makes_it_unknown_and_keeps_ready() {
        let mut up = table();
        up.status = Some(seen(in_sync()));
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
            &Seen {
                outcome: Outcome::Unavailable(error),
                granted: None,
            },
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
