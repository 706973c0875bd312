//! Whether an ALTER TABLE may be sent now, from the jobs a table has and had. Pure; times are the server's own.
//!
//! With fast schema evolution ADD COLUMN is metadata and over at once; without, it is a job that rewrites the table, and
//! StarRocks may cancel it (a partition that is created under it goes first). Whether a column is there is judged by the
//! schema alone; the job only says why it is not.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use tributary_crds::status::TableReason;

use crate::backend::starrocks::{AlterJob, JobState};

/// Waiting longer than this is told as waiting for somebody.
const PATIENCE: Duration = Duration::from_secs(600);
/// After the first cancellation; doubled by each one after it.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(1800);

/// What to do about columns that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing stands in the way.
    Send,
    /// A job is under way.
    Watch(Told),
    /// A job waits for somebody, or the last ones were cancelled.
    Blocked(Told),
}

/// A job as a status tells it: no figure that changes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: String,
    pub state: String,
    pub why: String,
}

impl Told {
    /// `<job id> <state>`.
    pub fn short(&self) -> String {
        format!("{} {}", self.id, self.state)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ALTER TABLE job {} is {}", self.id, self.state)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        Ok(())
    }
}

impl Turn {
    pub fn told(&self) -> Option<(TableReason, &Told)> {
        match self {
            Self::Send => None,
            Self::Watch(told) => Some((TableReason::SchemaJobRunning, told)),
            Self::Blocked(told) => Some((TableReason::SchemaJobBlocked, told)),
        }
    }
}

/// `jobs` newest first; `now` in the same clock.
pub fn turn(jobs: &[AlterJob], now: Option<DateTime>) -> Turn {
    if let Some(job) = jobs.iter().find(|j| !j.state.is_over()) {
        return under_way(job, now);
    }
    let cancelled = jobs.iter().take_while(|j| j.state == JobState::Cancelled).count();
    match jobs.first() {
        Some(last) if cancelled > 0 => after_cancellation(last, cancelled, now),
        _ => Turn::Send,
    }
}

fn under_way(job: &AlterJob, now: Option<DateTime>) -> Turn {
    let told = |why: &str| Told {
        id: job.id.clone(),
        state: job.state.as_str().to_owned(),
        why: why.to_owned(),
    };
    let waits = matches!(job.state, JobState::Pending | JobState::WaitingTxn);
    let long = age(job.created, now).is_some_and(|age| age > PATIENCE);
    if !waits || !long {
        return Turn::Watch(told(&job.message));
    }
    Turn::Blocked(told(match job.state {
        JobState::WaitingTxn => {
            "for more than 10 minutes it has waited for an older load of the table to end; SHOW PROC '/transactions/<database>/running' names it, CANCEL ALTER TABLE COLUMN gives the job up"
        }
        _ => {
            "for more than 10 minutes it has not begun: tablets of the table are unhealthy or being moved; SHOW PROC '/statistic' counts them, CANCEL ALTER TABLE COLUMN gives the job up"
        }
    }))
}

fn after_cancellation(last: &AlterJob, cancelled: usize, now: Option<DateTime>) -> Turn {
    let doublings = u32::try_from(cancelled - 1).unwrap_or(u32::MAX).min(16);
    let pause = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
    match age(last.finished.or(last.created), now) {
        Some(age) if age < pause => Turn::Blocked(Told {
            id: last.id.clone(),
            state: last.state.as_str().to_owned(),
            why: format!(
                "{}; it is sent again {} s after that, as long as the spec asks for it",
                match last.message.trim() {
                    "" => "StarRocks gives no reason",
                    message => message,
                },
                pause.as_secs()
            ),
        }),
        // Without a clock there is no telling how long ago it was; the reconcile's own pace bounds the tries.
        _ => Turn::Send,
    }
}

fn age(since: Option<DateTime>, now: Option<DateTime>) -> Option<Duration> {
    let passed = now?.duration_since(since?);
    Some(Duration::try_from(passed).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<DateTime> {
        let start = jiff::civil::date(2026, 11, 22).at(9, 0, 0, 0);
        Some(start + jiff::SignedDuration::from_secs(second))
    }

    fn job(id: u32, state: JobState, created: i64, finished: Option<i64>) -> AlterJob {
        AlterJob {
            id: id.to_string(),
            state,
            message: "Alter job conflicts with partition creation".into(),
            created: at(created),
            finished: finished.and_then(at),
        }
    }

    fn word(turn: &Turn) -> &'static str {
        match turn {
            Turn::Send => "send",
            Turn::Watch(_) => "watch",
            Turn::Blocked(_) => "blocked",
        }
    }

    #[test]
    fn one_job_at_a_time_and_a_cancelled_one_is_tried_again_later_and_later() {
        use JobState as S;
        let cancelled = |n: u32, last: i64| -> Vec<AlterJob> {
            (0..n)
                .map(|i| job(90 - i, S::Cancelled, last - 5, Some(last)))
                .collect()
        };
        let cases = [
            ("no job yet", vec![], 0, "send"),
            (
                "the last one did it",
                vec![job(1, S::Finished, 0, Some(1))],
                2,
                "send",
            ),
            ("one begins", vec![job(1, S::Pending, 0, None)], 60, "watch"),
            (
                "one waits too long",
                vec![job(1, S::Pending, 0, None)],
                601,
                "blocked",
            ),
            (
                "for a load, too long",
                vec![job(1, S::WaitingTxn, 0, None)],
                601,
                "blocked",
            ),
            (
                "a rewrite may take its time",
                vec![job(1, S::Running, 0, None)],
                86_000,
                "watch",
            ),
            (
                "a newer server's word",
                vec![job(1, S::Other("FINISHED_REWRITING".into()), 0, None)],
                9_000,
                "watch",
            ),
            ("just cancelled", cancelled(1, 0), 9, "blocked"),
            ("cancelled a while ago", cancelled(1, 0), 10, "send"),
            ("cancelled twice", cancelled(2, 0), 19, "blocked"),
            ("and a while ago", cancelled(2, 0), 20, "send"),
            ("many times", cancelled(15, 0), 1799, "blocked"),
            ("at most half an hour", cancelled(15, 0), 1800, "send"),
            (
                "an older failure counts no more",
                vec![job(2, S::Finished, 5, Some(6)), job(1, S::Cancelled, 0, Some(1))],
                7,
                "send",
            ),
        ];
        for (what, jobs, now, wanted) in cases {
            assert_eq!(word(&turn(&jobs, at(now))), wanted, "{what}");
        }
        assert_eq!(word(&turn(&cancelled(3, 0), None)), "send", "without a clock");
    }

    #[test]
    fn a_cancellation_is_told_with_its_cause() {
        let turn = turn(&[job(7, JobState::Cancelled, 0, Some(1))], at(2));
        let (reason, told) = turn.told().unwrap();
        assert_eq!(reason, TableReason::SchemaJobBlocked);
        assert_eq!(told.short(), "7 CANCELLED");
        assert!(
            told.to_string()
                .contains("conflicts with partition creation; it is sent again 10 s")
        );
    }
}
