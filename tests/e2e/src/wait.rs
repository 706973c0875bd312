//! Awaiting a condition instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What one look at the world found.
pub enum Look<T> {
    There(T),
    /// Not yet; the text says what is there instead and ends up in the error.
    NotYet(String),
}

/// Looks until it is there. Errors of a look count as "not yet": a server that is restarting is no reason to give up.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = match look() {
            Ok(Look::There(found)) => return Ok(found),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > deadline {
            return Err(anyhow!(
                "{what}: not after {}s; last seen: {seen}",
                deadline.as_secs()
            ));
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}
