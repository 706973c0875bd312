//! Errors that end a reconcile early, and how soon each is worth another try. What a *backend* answers does not end a
//! reconcile: it becomes a condition.

use std::time::Duration;

use kube::runtime::controller::Action;

use crate::leader::NotLeading;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{call}: {source}")]
    Kubernetes {
        call: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{call}: the API server did not answer within {after:?}")]
    KubernetesTimeout { call: String, after: Duration },
    #[error("{object} exists and this version cannot read it: {why}")]
    Undecodable { object: String, why: String },
    #[error("{call}: {source}")]
    NotLeading {
        call: String,
        #[source]
        source: NotLeading,
    },
    #[error("{call}: {source}")]
    Serialise {
        call: String,
        #[source]
        source: serde_json::Error,
    },
}

/// How soon a failed reconcile is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Somebody else wrote in between: read again, soon.
    Contention,
    /// The API server is away or overloaded.
    Transient,
    /// The operator may not do this; a person has to act, so do not hammer.
    Slow,
}

impl Error {
    pub fn kubernetes(call: String, source: kube::Error) -> Self {
        Self::Kubernetes {
            call,
            source: Box::new(source),
        }
    }

    pub fn serialise(call: String, source: serde_json::Error) -> Self {
        Self::Serialise { call, source }
    }

    pub fn status_code(&self) -> Option<u16> {
        match self {
            Self::Kubernetes { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status_code() == Some(404)
    }

    pub fn is_forbidden(&self) -> bool {
        self.status_code() == Some(403)
    }

    pub fn retry_class(&self) -> RetryClass {
        match (self, self.status_code()) {
            (_, Some(409)) => RetryClass::Contention,
            (_, Some(400 | 401 | 403 | 404 | 422)) | (Self::Serialise { .. }, _) => RetryClass::Slow,
            _ => RetryClass::Transient,
        }
    }
}

/// The wait before try number `attempt` (from 0), without jitter.
pub fn backoff(class: RetryClass, attempt: u32) -> Duration {
    let (floor, ceiling) = match class {
        RetryClass::Contention => (1, 30),
        RetryClass::Transient => (5, 300),
        RetryClass::Slow => (30, 300),
    };
    let seconds = floor << attempt.min(8);
    Duration::from_secs(seconds.min(ceiling))
}

/// `wait` ± 10 %, so that objects that failed together do not come back together.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(fastrand::f64().mul_add(0.2, 0.9))
}

pub fn requeue(wait: Duration) -> Action {
    Action::requeue(jittered(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_a_ceiling() {
        assert_eq!(backoff(RetryClass::Transient, 0), Duration::from_secs(5));
        assert_eq!(backoff(RetryClass::Transient, 1), Duration::from_secs(10));
        assert_eq!(backoff(RetryClass::Transient, 60), Duration::from_secs(300));
        assert_eq!(backoff(RetryClass::Contention, 0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(10)).as_secs_f64();
            assert!((9.0..=11.0).contains(&wait));
        }
    }
}
