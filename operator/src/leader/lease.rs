//! What a candidate does about the Lease it sees. Pure: time comes in as an argument.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// The Lease as it was last seen to change, on this process's clock.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    record: Option<Record>,
    since: Instant,
}

/// What says that somebody is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    holder: String,
    renewed: Option<Timestamp>,
    transitions: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is ours: extend it.
    Renew,
    /// Nobody holds it, or whoever did has been silent for its whole duration.
    Take,
    /// Somebody else holds it.
    Wait,
}

impl Sighting {
    pub(super) fn nothing(now: Instant) -> Self {
        Self {
            record: None,
            since: now,
        }
    }

    /// Notes the Lease; its age counts from when *this process* first saw it so.
    pub(super) fn note(&mut self, lease: Option<&Lease>, now: Instant) {
        let record = lease.and_then(record);
        if record != self.record {
            *self = Self { record, since: now };
        }
    }

    /// What to do after [`Self::note`].
    pub(super) fn step(&self, identity: &str, duration: Duration, now: Instant) -> Step {
        match &self.record {
            None => Step::Take,
            Some(record) if record.holder == identity => Step::Renew,
            Some(_) if now.saturating_duration_since(self.since) >= duration => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.record.as_ref().map(|r| r.holder.as_str())
    }
}

/// A Lease without a holder was released.
fn record(lease: &Lease) -> Option<Record> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|h| !h.is_empty())?;
    Some(Record {
        holder,
        renewed: spec.renew_time.as_ref().map(|t| t.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    })
}

/// The Lease's spec once we hold it.
pub(super) fn held(
    before: Option<&LeaseSpec>,
    identity: &str,
    duration: Duration,
    now: Timestamp,
) -> LeaseSpec {
    let ours = before.is_some_and(|b| b.holder_identity.as_deref() == Some(identity));
    let transitions = before.and_then(|b| b.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        acquire_time: match before {
            Some(before) if ours => before.acquire_time.clone(),
            _ => Some(MicroTime(now)),
        },
        renew_time: Some(MicroTime(later(before, now))),
        lease_transitions: Some(if ours {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        ..LeaseSpec::default()
    }
}

/// Every renewal differs from the one before, also when the clock was set back: others see life by change alone.
fn later(before: Option<&LeaseSpec>, now: Timestamp) -> Timestamp {
    let last = before.and_then(|b| b.renew_time.as_ref()).map(|t| t.0);
    match last {
        Some(last) if last >= now => last.checked_add(SignedDuration::from_micros(1)).unwrap_or(now),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn lease(holder: &str, second: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(Timestamp::from_second(second).unwrap())),
                lease_transitions: Some(3),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_free_lease_is_taken_and_ours_is_renewed() {
        let t0 = Instant::now();
        let mut seen = Sighting::nothing(t0);
        assert_eq!(seen.step("a", DURATION, t0), Step::Take);
        seen.note(Some(&lease("", 1)), t0);
        assert_eq!(seen.step("a", DURATION, t0), Step::Take, "released");
        seen.note(Some(&lease("a", 1)), t0);
        assert_eq!(seen.step("a", DURATION, t0), Step::Renew);
    }

    #[test]
    fn silence_is_counted_on_our_clock_and_starts_over_with_every_renewal() {
        let t0 = Instant::now();
        let mut seen = Sighting::nothing(t0);
        // Its renewTime is decades old by our clock: that says nothing.
        seen.note(Some(&lease("b", 1)), t0);
        let almost = t0 + DURATION - Duration::from_secs(1);
        assert_eq!(seen.step("a", DURATION, almost), Step::Wait);
        seen.note(Some(&lease("b", 2)), almost);
        assert_eq!(seen.step("a", DURATION, t0 + DURATION), Step::Wait, "it renewed");
        assert_eq!(seen.step("a", DURATION, almost + DURATION), Step::Take);
    }

    #[test]
    fn transitions_count_holders_and_renewals_always_differ() {
        let now = Timestamp::from_second(100).unwrap();
        let before = lease("b", 200).spec.unwrap();
        let taken = held(Some(&before), "a", DURATION, now);
        assert_eq!(taken.lease_transitions, Some(4));
        assert!(taken.renew_time.as_ref().unwrap().0 > before.renew_time.unwrap().0);
        let renewed = held(Some(&taken), "a", DURATION, now);
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time, taken.acquire_time);
        assert!(renewed.renew_time.unwrap().0 > taken.renew_time.unwrap().0);
    }
}
