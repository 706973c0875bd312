//! One circuit breaker per endpoint: while a backend is down, its many dependants cause one probe per interval, not
//! one call each.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Backend, BackendError, BackendResult, ErrorClass};

/// Failures in a row that open the breaker.
const THRESHOLD: u32 = 3;
/// How long the first opening lasts; doubled per failed probe up to [`MAX_OPEN`].
const FIRST_OPEN: Duration = Duration::from_secs(5);
const MAX_OPEN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    /// A probe is on its way: the others keep waiting for its result.
    probing: bool,
}

/// Opens after [`THRESHOLD`] outages in a row; then lets one call through per interval until one succeeds.
#[derive(Debug)]
pub struct Breaker {
    backend: Backend,
    state: Mutex<State>,
}

/// Frees the probe slot also when the probing call is cancelled.
struct Probe<'a>(&'a Breaker);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.lock().probing = false;
    }
}

impl Breaker {
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            state: Mutex::default(),
        }
    }

    /// Runs `call` unless the breaker is open.
    pub async fn run<T>(
        &self,
        operation: &str,
        call: impl Future<Output = BackendResult<T>>,
    ) -> BackendResult<T> {
        let probe = self.admit(operation, Instant::now())?;
        let result = call.await;
        let outage = matches!(&result, Err(e) if e.class.is_outage());
        self.record(outage, Instant::now());
        drop(probe);
        result
    }

    /// Whether calls are being refused right now.
    pub fn is_open(&self) -> bool {
        self.lock().open_until.is_some_and(|t| t > Instant::now())
    }

    fn admit(&self, operation: &str, now: Instant) -> BackendResult<Option<Probe<'_>>> {
        let mut state = self.lock();
        match state.open_until {
            None => Ok(None),
            Some(until) if now >= until && !state.probing => {
                state.probing = true;
                Ok(Some(Probe(self)))
            }
            Some(_) => Err(BackendError::new(
                self.backend,
                ErrorClass::CircuitOpen,
                operation,
                format!(
                    "not tried: the last {THRESHOLD} or more calls found nobody there; one probe every {} s decides when to go on",
                    MAX_OPEN.as_secs()
                ),
            )),
        }
    }

    fn record(&self, outage: bool, now: Instant) {
        let mut state = self.lock();
        if !outage {
            state.failures = 0;
            state.open_until = None;
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= THRESHOLD {
            let doubled = FIRST_OPEN * 2u32.pow((state.failures - THRESHOLD).min(4));
            state.open_until = Some(now + doubled.min(MAX_OPEN));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is plain data: a panic while holding it leaves nothing half done.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_outages_open_it_one_probe_closes_it() {
        let breaker = Breaker::new(Backend::Connect);
        let t0 = Instant::now();
        for _ in 0..3 {
            assert!(breaker.admit("x", t0).is_ok());
            breaker.record(true, t0);
        }
        let refused = breaker.admit("x", t0).err().expect("open");
        assert_eq!(refused.class, ErrorClass::CircuitOpen);

        let later = t0 + FIRST_OPEN;
        let probe = breaker.admit("x", later).expect("probe").expect("half open");
        assert!(breaker.admit("x", later).is_err(), "one probe at a time");
        breaker.record(false, later);
        drop(probe);
        assert!(breaker.admit("x", later).expect("closed").is_none());
    }

    #[test]
    fn a_cancelled_probe_frees_its_slot_and_answers_are_no_outage() {
        let breaker = Breaker::new(Backend::StarRocks);
        let t0 = Instant::now();
        for _ in 0..2 {
            breaker.record(true, t0);
        }
        breaker.record(false, t0);
        breaker.record(true, t0);
        assert!(breaker.admit("x", t0).is_ok(), "the row was interrupted");
        for _ in 0..3 {
            breaker.record(true, t0);
        }
        let later = t0 + MAX_OPEN;
        drop(breaker.admit("x", later).expect("probe"));
        assert!(breaker.admit("x", later).is_ok());
    }
}
