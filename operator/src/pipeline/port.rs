//! The port of a relay that shares its node's network (`hostNetwork: true` in podOverrides): every such relay listens on the
//! node's loopback, so each needs a port of its own.

use sha2::{Digest, Sha256};

/// Below Linux's ephemeral ports (32768) and above what servers commonly take.
pub const RANGE: std::ops::Range<u16> = 20_000..30_000;
/// The port inside a pod of its own network.
pub const POD_PORT: u16 = 8080;

/// Where a relay of `identity` (`<ownerID>/<namespace>/<name>/<ordinal>`) listens, given the ports that *other* relays hold already and the
/// one it holds itself. A held port is kept: moving would restart the relay. Two relays that took the same port at the same
/// moment are told apart by `yields`: the younger one moves.
pub fn choose(identity: &str, held: Option<u16>, taken: &dyn Fn(u16) -> bool) -> Option<u16> {
    if let Some(port) = held.filter(|p| RANGE.contains(p) && !taken(*p)) {
        return Some(port);
    }
    let width = RANGE.end - RANGE.start;
    let hash = Sha256::digest(identity.as_bytes());
    let start = u16::from_be_bytes([hash[0], hash[1]]) % width;
    (0..width)
        .map(|step| RANGE.start + (start + step) % width)
        .find(|port| !taken(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_identity_gets_the_same_port_and_a_taken_one_moves_on() {
        let first = choose("tenant-acme/acme/0", None, &|_| false).unwrap();
        assert_eq!(choose("tenant-acme/acme/0", None, &|_| false), Some(first));
        assert!(RANGE.contains(&first));
        let next = choose("tenant-acme/acme/0", None, &|p| p == first).unwrap();
        assert_ne!(next, first);
        assert_eq!(
            choose("tenant-acme/acme/0", Some(next), &|_| false),
            Some(next),
            "held ports stay"
        );
    }

    #[test]
    fn a_full_range_is_said_not_looped_on() {
        assert_eq!(choose("x", None, &|_| true), None);
    }
}
