//! One circuit breaker per endpoint: while a backend is down, its many dependants cause one probe per interval, not
//! one call each.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};

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
    /// When the row of failures began and what the call that opened the breaker met: said until it closes, unchanged.
    began: Option<Timestamp>,
    cause: String,
    /// A probe is on its way: the others keep waiting for its result.
    probing: bool,
}

/// Opens after [`THRESHOLD`] outages in a row; then lets one call through per interval until one succeeds.
#[derive(Debug)]
pub struct Breaker {
    backend: Backend,
    /// Where the calls go, as errors name it.
    endpoint: String,
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
    pub fn new(backend: Backend, endpoint: impl Into<String>) -> Self {
        Self {
            backend,
            endpoint: endpoint.into(),
            state: Mutex::default(),
        }
    }

    /// Runs `call` unless the breaker is open. While it is open every failure reads the same, the probe's too: what depends on
    /// the endpoint is told once, not once per probe.
    pub async fn run<T>(
        &self,
        operation: &str,
        call: impl Future<Output = BackendResult<T>>,
    ) -> BackendResult<T> {
        let probe = self.admit(operation, Instant::now())?;
        let result = call.await;
        let outage = result.as_ref().err().filter(|e| e.class.is_outage());
        self.record(outage.map(|e| e.message.as_str()), Instant::now());
        drop(probe);
        match result {
            Err(error) if error.class.is_outage() && self.is_open() => {
                Err(self.refusal(operation, &self.lock()))
            }
            result => result,
        }
    }

    /// Whether calls are being refused right now.
    pub fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    fn admit(&self, operation: &str, now: Instant) -> BackendResult<Option<Probe<'_>>> {
        let mut state = self.lock();
        match state.open_until {
            None => Ok(None),
            Some(until) if now >= until && !state.probing => {
                state.probing = true;
                Ok(Some(Probe(self)))
            }
            Some(_) => Err(self.refusal(operation, &state)),
        }
    }

    fn refusal(&self, operation: &str, state: &State) -> BackendError {
        let since = state.began.map_or_else(String::new, |t| format!(" since {t}"));
        let text = format!(
            "nobody answers at {}{since} ({}): calls are held back, one probe every {} s decides when to go on",
            self.endpoint,
            state.cause,
            MAX_OPEN.as_secs()
        );
        BackendError::new(self.backend, ErrorClass::CircuitOpen, operation, text)
    }

    /// `outage`: what the call met when it found nobody there.
    fn record(&self, outage: Option<&str>, now: Instant) {
        let mut state = self.lock();
        let Some(cause) = outage else {
            let probing = state.probing;
            *state = State {
                probing,
                ..State::default()
            };
            return;
        };
        if state.failures == 0 {
            let wall = Timestamp::now();
            state.began = Some(wall.round(Unit::Second).unwrap_or(wall));
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= THRESHOLD {
            if state.open_until.is_none() {
                state.cause = cause.to_owned();
            }
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

    const GONE: Option<&str> = Some("connection refused");

    fn breaker() -> Breaker {
        Breaker::new(Backend::Connect, "http://connect:8083")
    }

    #[test]
    fn three_outages_open_it_one_probe_closes_it() {
        let breaker = breaker();
        let t0 = Instant::now();
        for _ in 0..3 {
            assert!(breaker.admit("x", t0).is_ok());
            breaker.record(GONE, t0);
        }
        let refused = breaker.admit("x", t0).err().expect("open");
        assert_eq!(refused.class, ErrorClass::CircuitOpen);

        let later = t0 + FIRST_OPEN;
        let probe = breaker.admit("x", later).expect("probe").expect("half open");
        assert!(breaker.admit("x", later).is_err(), "one probe at a time");
        breaker.record(None, later);
        drop(probe);
        assert!(breaker.admit("x", later).expect("closed").is_none());
    }

    #[test]
    fn a_cancelled_probe_frees_its_slot_and_answers_are_no_outage() {
        let breaker = breaker();
        let t0 = Instant::now();
        for _ in 0..2 {
            breaker.record(GONE, t0);
        }
        breaker.record(None, t0);
        breaker.record(GONE, t0);
        assert!(breaker.admit("x", t0).is_ok(), "the row was interrupted");
        for _ in 0..3 {
            breaker.record(GONE, t0);
        }
        let later = t0 + MAX_OPEN;
        drop(breaker.admit("x", later).expect("probe"));
        assert!(breaker.admit("x", later).is_ok());
    }

    #[tokio::test]
    async fn while_it_is_open_every_failure_says_what_where_and_since_when() {
        let breaker = breaker();
        let fail = |cause: &'static str| async move {
            Err::<(), _>(BackendError::new(
                Backend::Connect,
                ErrorClass::Unreachable,
                "x",
                cause,
            ))
        };
        for _ in 0..2 {
            let error = breaker
                .run("x", fail("connection refused"))
                .await
                .expect_err("away");
            assert_eq!(error.class, ErrorClass::Unreachable);
        }
        let opening = breaker
            .run("x", fail("no route to host"))
            .await
            .expect_err("away");
        let refused = breaker.run("x", fail("never called")).await.expect_err("open");
        assert_eq!(opening.class, ErrorClass::CircuitOpen);
        assert_eq!(opening.message, refused.message);
        assert!(
            opening.message.contains("http://connect:8083 since 20")
                && opening.message.contains("(no route to host)"),
            "{}",
            opening.message
        );
    }
}
