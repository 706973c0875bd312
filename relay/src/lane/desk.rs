//! Where lanes ask for a commit and wait for it. One thread commits for all: requests that come while a commit is on its way
//! share the next one, so a load waits about one commit's time (some 1 ms) however many lanes there are.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A request: the commit that counts began after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug)]
pub struct CommitDesk {
    wanted: Mutex<u64>,
    wake: Condvar,
    committed: watch::Sender<Committed>,
}

#[derive(Clone, Debug, Default)]
struct Committed {
    ticket: u64,
    /// Why the commit that is still wanted failed last.
    failure: Option<String>,
}

impl Default for CommitDesk {
    fn default() -> Self {
        Self {
            wanted: Mutex::default(),
            wake: Condvar::new(),
            committed: watch::Sender::default(),
        }
    }
}

impl CommitDesk {
    fn wanted(&self) -> MutexGuard<'_, u64> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the lanes' side ---

    pub fn ask(&self) -> Ticket {
        let mut wanted = self.wanted();
        *wanted += 1;
        let ticket = Ticket(*wanted);
        drop(wanted);
        self.wake.notify_one();
        ticket
    }

    /// Waits until a commit begun after `ticket` has succeeded. `failed` hears of every failure in between.
    pub async fn committed(&self, ticket: Ticket, mut failed: impl FnMut(&str)) {
        let mut watch = self.committed.subscribe();
        loop {
            {
                let committed = watch.borrow_and_update();
                if committed.ticket >= ticket.0 {
                    return;
                }
                if let Some(why) = &committed.failure {
                    failed(why);
                }
            }
            if watch.changed().await.is_err() {
                // The desk lives as long as the lanes do.
                return std::future::pending().await;
            }
        }
    }

    // --- the committing thread's side ---

    /// Waits for a request that is newer than `served`, at most until `timeout`; the newest request there is.
    pub fn next(&self, served: Ticket, timeout: Duration) -> Ticket {
        let (wanted, _) = self
            .wake
            .wait_timeout_while(self.wanted(), timeout, |wanted| *wanted <= served.0)
            .unwrap_or_else(PoisonError::into_inner);
        Ticket(*wanted)
    }

    pub fn succeeded(&self, ticket: Ticket) {
        self.committed.send_modify(|committed| {
            committed.ticket = committed.ticket.max(ticket.0);
            committed.failure = None;
        });
    }

    pub fn failed(&self, why: String) {
        self.committed
            .send_modify(|committed| committed.failure = Some(why));
    }
}

impl Ticket {
    pub const NONE: Self = Self(0);
}

/// When a load was announced. A load starts within [`Announced::VALID`] of its announcement or announces itself anew: the next
/// owner counts on it.
#[derive(Clone, Copy, Debug)]
pub struct Announced(Instant);

impl Announced {
    pub const VALID: Duration = Duration::from_secs(30);

    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// Latest start of a load under this announcement.
    pub fn start_by(self) -> Instant {
        self.0 + Self::VALID
    }

    pub fn expired(self) -> bool {
        Instant::now() >= self.start_by()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_request_is_served_by_a_commit_that_began_after_it() {
        let desk = Arc::new(CommitDesk::default());
        let first = desk.ask();
        let underway = desk.next(Ticket::NONE, Duration::ZERO);
        assert_eq!(underway, first);
        let second = desk.ask();
        desk.succeeded(underway);
        desk.committed(first, |why| panic!("{why}")).await;
        let late = tokio::time::timeout(Duration::from_millis(20), desk.committed(second, |_| {})).await;
        assert!(late.is_err(), "the commit under way knows nothing of it");
        desk.failed("broker gone".into());
        let mut heard = Vec::new();
        let waiting = desk.committed(second, |why| heard.push(why.to_owned()));
        let served = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move { desk.succeeded(desk.next(underway, Duration::ZERO)) }
        });
        waiting.await;
        served.await.unwrap();
        assert_eq!(heard, ["broker gone"]);
    }

    #[test]
    fn without_a_request_the_wait_ends() {
        let desk = CommitDesk::default();
        let ticket = desk.ask();
        assert_eq!(desk.next(ticket, Duration::from_millis(1)), ticket);
    }
}
