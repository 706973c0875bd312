//! Whether this process may write now.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::context::lock;
use crate::guard::Guard;

/// Asked before every write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Mutex<Permit>>);

#[derive(Clone, Copy, Debug)]
enum Permit {
    /// Nobody elects: one-shot tools and tests of single parts.
    Always,
    Never,
    /// On both clocks: the monotonic one stands still while a virtual machine is suspended, the other may be set back.
    Until(Instant, SystemTime),
}

/// The Lease is not held with margin, so nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not written: this operator does not hold its Lease any more, another one may be writing")]
pub struct NotLeading;

impl Fence {
    /// For a process that is the only writer by other means.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Permit::Always)))
    }

    /// For a candidate: closed until it is elected.
    pub fn closed() -> Self {
        Self(Arc::new(Mutex::new(Permit::Never)))
    }

    /// Writes are allowed for `span` from `asked` on, which is when the renewal was sent, not when it was answered.
    pub(super) fn extend(&self, asked: (Instant, SystemTime), span: Duration) {
        *lock(&self.0) = Permit::Until(asked.0 + span, asked.1 + span);
    }

    pub(super) fn close(&self) {
        *lock(&self.0) = Permit::Never;
    }

    pub fn check(&self) -> Result<(), NotLeading> {
        let permitted = match *lock(&self.0) {
            Permit::Always => true,
            Permit::Never => false,
            Permit::Until(until, wall) => {
                (Instant::now() < until && SystemTime::now() < wall) || !Guard::LeaderFence.holds()
            }
        };
        permitted.then_some(()).ok_or(NotLeading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_for_a_span_and_closes_by_itself() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(NotLeading));
        fence.extend((Instant::now(), SystemTime::now()), Duration::from_secs(60));
        assert_eq!(fence.check(), Ok(()));
        fence.extend((Instant::now(), SystemTime::now()), Duration::ZERO);
        assert_eq!(fence.check(), Err(NotLeading), "the span is over");
        fence.close();
        assert_eq!(fence.check(), Err(NotLeading));
    }

    #[test]
    fn a_clock_that_jumped_ahead_closes_it() {
        let fence = Fence::closed();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fence.extend((Instant::now(), an_hour_ago), Duration::from_secs(60));
        assert_eq!(fence.check(), Err(NotLeading), "the machine was suspended");
    }
}
