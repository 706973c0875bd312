//! Free ports on loopback.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::sync::Mutex;

use anyhow::{Result, bail};

/// Below the range from which the kernel takes the ports of outgoing connections (from 32768), so that a port found
/// free here is not taken by somebody's connection a moment later.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on and that this process has not handed out before. Another stage may still win the race
/// for it: start servers through [`retrying`].
pub fn free() -> Result<u16> {
    static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut guard = HANDED_OUT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let handed_out = guard.get_or_insert_default();
    for _ in 0..2000 {
        let random = RandomState::new().hash_one(0);
        let span = u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(random % span)?;
        if !handed_out.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            handed_out.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

/// Starts a server, again with other ports when somebody took one in between.
pub fn retrying<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..3 {
        match start() {
            Err(error) if clashed(&format!("{error:#}")) => {}
            other => return other,
        }
    }
    start()
}

fn clashed(error: &str) -> bool {
    let error = error.to_lowercase();
    ["address already in use", "bindexception", "eaddrinuse"]
        .iter()
        .any(|sign| error.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() -> Result<()> {
        let ports: HashSet<u16> = (0..50).map(|_| free()).collect::<Result<_>>()?;
        assert_eq!(ports.len(), 50);
        Ok(())
    }

    #[test]
    fn only_a_clash_is_tried_again() {
        let mut tries = 0;
        let mut failing = |text: &'static str| {
            tries = 0;
            let _ = retrying(|| -> Result<()> {
                tries += 1;
                bail!(text)
            });
            tries
        };
        assert_eq!(
            failing("listen tcp 127.0.0.1:2379: bind: address already in use"),
            4
        );
        assert_eq!(failing("no such file"), 1);
    }
}
