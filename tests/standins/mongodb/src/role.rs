//! Primary or not: the one member's role, and how long it is without it after a step-down.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bson::{DateTime, oid::ObjectId};

/// Who the primary is, for as long as there is one.
#[derive(Debug, Clone, Copy)]
pub struct Election {
    /// Grows with every election, or clients take the new primary for an old one.
    pub id: ObjectId,
    pub term: i64,
}

impl Election {
    /// Shaped as MongoDB's own, with the time in place of the counter: a stand-in that was started again must not seem
    /// to be a primary of the past.
    fn new(term: i64) -> Self {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        bytes[4..].copy_from_slice(&DateTime::now().timestamp_millis().to_be_bytes());
        Self {
            id: ObjectId::from_bytes(bytes),
            term,
        }
    }
}

pub struct Role(Mutex<State>);

struct State {
    election: Election,
    secondary_until: Option<Instant>,
}

impl Default for Role {
    fn default() -> Self {
        Self(Mutex::new(State {
            election: Election::new(1),
            secondary_until: None,
        }))
    }
}

impl Role {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the role up for this long; the election that follows has it back.
    pub fn step_down(&self, wait: Duration) {
        self.state().secondary_until = Some(Instant::now() + wait);
    }

    /// Ends a step-down early.
    pub fn step_up(&self) {
        let mut state = self.state();
        if state.secondary_until.is_some() {
            state.secondary_until = Some(Instant::now());
        }
    }

    /// The election that made this member primary; `None` while it is a secondary.
    pub fn primary(&self) -> Option<Election> {
        let mut state = self.state();
        match state.secondary_until {
            Some(until) if Instant::now() < until => None,
            Some(_) => {
                state.secondary_until = None;
                state.election = Election::new(state.election.term + 1);
                Some(state.election)
            }
            None => Some(state.election),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_that_stepped_down_comes_back_by_a_later_election() {
        let role = Role::default();
        let first = role.primary().unwrap();
        role.step_down(Duration::from_secs(600));
        assert!(role.primary().is_none());
        while DateTime::now().timestamp_millis()
            <= i64::from_be_bytes(first.id.bytes()[4..].try_into().unwrap())
        {}
        role.step_up();
        let second = role.primary().unwrap();
        assert!(second.id > first.id && second.term == first.term + 1);
        assert_eq!(role.primary().unwrap().id, second.id);
    }
}
