//! From answers to conditions.

use jiff::Timestamp;
use kube::ResourceExt;
use tributary_crds::effective::builtin;
use tributary_crds::platform::{DataPlatform, DataPlatformStatus};
use tributary_crds::status::clip;
use tributary_crds::status::{
    Composed, ConditionStatus, Held, Observation, PlatformCondition as C, PlatformReason as R, Verdict,
    compose, find,
};

use super::apply::Answer;
use super::dereference::Referenced;
use super::plan::Plan;
use crate::backend::{BackendError, ErrorClass};
use crate::error::Error;

pub fn status(
    platform: &DataPlatform,
    plan: &Plan,
    answers: &[Answer],
    seen: &Referenced,
    now: Timestamp,
) -> DataPlatformStatus {
    let mut verdicts: Vec<(C, Verdict<R>)> = answers.iter().map(verdict).collect();
    if let Some((reason, message)) = &plan.hot_missing {
        verdicts.push((C::HotReachable, Verdict::bad(*reason, message.as_str())));
    }
    verdicts.push((C::CapacityAvailable, capacity(platform, seen.pipelines)));
    let stalled = plan.invalid.clone().map(|message| (R::InvalidSpec, message));
    if let Some((reason, message)) = &stalled {
        // Any gate will do: the first one carries the reason into Ready.
        verdicts.push((C::KafkaReachable, Verdict::unknown(*reason, message.as_str())));
    }
    let observation = Observation {
        generation: platform.metadata.generation.unwrap_or_default(),
        verdicts,
        ready: Verdict::good(R::Available, "Kafka, Kafka Connect and StarRocks answer."),
        held: Held::NotProven,
        reconciling: None,
        stalled,
    };
    build(platform, observation, Some(seen.pipelines), now)
}

/// The status while deletion waits.
pub fn in_use(platform: &DataPlatform, users: &[String], now: Timestamp) -> DataPlatformStatus {
    const SHOWN: usize = 5;
    let mut text = users.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if users.len() > SHOWN {
        text.push_str(&format!(" and {} more", users.len() - SHOWN));
    }
    let message = format!("Deletion waits: {text} still name this platform. Delete them first.");
    let verdict = Verdict::bad(R::InUse, message.as_str());
    let observation = Observation {
        generation: platform.metadata.generation.unwrap_or_default(),
        verdicts: vec![(C::CapacityAvailable, verdict.clone())],
        ready: verdict,
        held: Held::NotProven,
        reconciling: None,
        stalled: None,
    };
    // Whatever else is wrong with it: this is what its deletion waits for.
    DataPlatformStatus {
        reason: Some(R::InUse.as_str().to_owned()),
        message: Some(clip(&message)),
        ..build(platform, observation, None, now)
    }
}

pub fn is_ready(status: &DataPlatformStatus) -> bool {
    find(&status.conditions, "Ready").is_some_and(|c| c.status == ConditionStatus::True)
}

fn build(
    platform: &DataPlatform,
    observation: Observation<C>,
    pipelines: Option<usize>,
    now: Timestamp,
) -> DataPlatformStatus {
    let previous = platform.status.clone().unwrap_or_default();
    let generation = observation.generation;
    let Composed {
        conditions,
        reason,
        message,
    } = compose(&previous.conditions, observation, now);
    DataPlatformStatus {
        observed_generation: generation,
        reason: Some(reason),
        message: Some(message),
        pipelines: pipelines
            .and_then(|n| i32::try_from(n).ok())
            .or(previous.pipelines),
        conditions,
    }
}

fn verdict(answer: &Answer) -> (C, Verdict<R>) {
    match answer {
        Answer::Kafka(result) => (C::KafkaReachable, backend(result)),
        Answer::Connect(result) => (C::ConnectReachable, backend(result)),
        Answer::Hot(result) => (C::HotReachable, backend(result)),
        Answer::SourceSecrets(result) => (C::SourceSecretsReady, mirrored(result)),
    }
}

fn backend(result: &Result<String, BackendError>) -> Verdict<R> {
    match result {
        Ok(text) => Verdict::good(R::Reachable, text.as_str()),
        Err(error) => Verdict::bad(reason(error.class), error.to_string()),
    }
}

fn reason(class: ErrorClass) -> R {
    match class {
        ErrorClass::Unreachable | ErrorClass::Transient | ErrorClass::NotFound => R::Unreachable,
        ErrorClass::CircuitOpen => R::CircuitOpen,
        ErrorClass::AuthenticationFailed => R::AuthenticationFailed,
        ErrorClass::NotAuthorized => R::NotAuthorized,
        ErrorClass::Unsupported => R::UnsupportedVersion,
        ErrorClass::Invalid | ErrorClass::Conflict => R::InvalidSpec,
    }
}

fn mirrored(result: &Result<String, Error>) -> Verdict<R> {
    match result {
        Ok(text) => Verdict::good(R::Mirrored, text.as_str()),
        Err(error) if error.is_forbidden() => Verdict::bad(
            R::NotAuthorized,
            format!("The operator may not write the mirrored Secret: {error}"),
        ),
        Err(error) if error.is_not_found() => Verdict::bad(
            R::SecretNotFound,
            format!("The namespace of the mirrored Secret is absent: {error}"),
        ),
        Err(error) => Verdict::unknown(R::Unreachable, error.to_string()),
    }
}

fn capacity(platform: &DataPlatform, pipelines: usize) -> Verdict<R> {
    let limit = platform
        .spec
        .connect
        .max_connectors
        .unwrap_or(builtin::MAX_CONNECTORS);
    if i32::try_from(pipelines).is_ok_and(|n| n < limit) {
        Verdict::good(
            R::Available,
            format!("Room for more pipelines (connect.maxConnectors {limit})."),
        )
    } else {
        let message = format!(
            "{} carries as many pipelines as connect.maxConnectors ({limit}) permits; further ones are refused.",
            platform.name_any()
        );
        Verdict::bad(R::CapacityExceeded, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    fn platform() -> DataPlatform {
        let mut platform = DataPlatform::new("main", Default::default());
        platform.metadata.generation = Some(3);
        platform
    }

    fn seen() -> Referenced {
        Referenced {
            admin: None,
            load: None,
            pipelines: 2,
        }
    }

    fn plan() -> Plan {
        Plan {
            probes: vec![],
            invalid: None,
            hot_missing: None,
        }
    }

    fn good() -> Vec<Answer> {
        vec![
            Answer::Kafka(Ok(String::new())),
            Answer::Connect(Ok(String::new())),
            Answer::SourceSecrets(Ok(String::new())),
            Answer::Hot(Ok(String::new())),
        ]
    }

    #[test]
    fn all_answers_make_it_ready_and_a_second_look_changes_nothing() {
        let first = status(&platform(), &plan(), &good(), &seen(), Timestamp::UNIX_EPOCH);
        assert!(is_ready(&first), "{first:?}");
        assert_eq!((first.observed_generation, first.pipelines), (3, Some(2)));
        let mut again = platform();
        again.status = Some(first.clone());
        assert_eq!(status(&again, &plan(), &good(), &seen(), Timestamp::now()), first);
    }

    #[test]
    fn a_backend_that_is_away_is_named_with_its_class() {
        let mut answers = good();
        let error = BackendError::new(
            Backend::Connect,
            ErrorClass::Unreachable,
            "GET /health",
            "connection refused",
        );
        answers.push(Answer::Connect(Err(error)));
        let status = status(&platform(), &plan(), &answers, &seen(), Timestamp::UNIX_EPOCH);
        assert!(!is_ready(&status));
        assert_eq!(status.reason.as_deref(), Some("Unreachable"));
        assert!(
            status
                .message
                .as_deref()
                .is_some_and(|m| m.contains("connection refused"))
        );
    }

    #[tokio::test]
    async fn an_outage_is_one_condition_with_what_where_and_since_when_and_is_written_twice() {
        let breaker = crate::backend::breaker::Breaker::new(Backend::Connect, "http://connect:8083");
        let mut platform = platform();
        let mut seen_statuses: Vec<(String, String)> = Vec::new();
        // Twenty looks while nobody is there, then one when it is back.
        for look in 0..21 {
            let call = async {
                match look {
                    20 => Ok("Kafka Connect 4.3.1".to_owned()),
                    _ => Err(BackendError::new(
                        Backend::Connect,
                        ErrorClass::Unreachable,
                        "GET /health",
                        "connection refused",
                    )),
                }
            };
            // The probe that finds it back is let through when its time has come.
            let result = match look {
                20 => call.await,
                _ => breaker.run("GET /health", call).await,
            };
            let answers = [
                Answer::Kafka(Ok(String::new())),
                Answer::Connect(result),
                Answer::SourceSecrets(Ok(String::new())),
                Answer::Hot(Ok(String::new())),
            ];
            let next = status(&platform, &plan(), &answers, &seen(), Timestamp::now());
            let condition = find(&next.conditions, "ConnectReachable").unwrap();
            let shown = (condition.reason.clone(), condition.message.clone());
            if seen_statuses.last() != Some(&shown) {
                seen_statuses.push(shown);
            }
            platform.status = Some(next);
        }
        let reasons: Vec<&str> = seen_statuses.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(reasons, ["Unreachable", "CircuitOpen", "Reachable"]);
        let message = &seen_statuses[1].1;
        assert!(
            message.contains("http://connect:8083 since 20") && message.contains("connection refused"),
            "{message}"
        );
        assert!(is_ready(platform.status.as_ref().unwrap()));
    }

    #[test]
    fn while_in_use_the_message_names_who() {
        let status = in_use(&platform(), &["TenantPipeline a/b".into()], Timestamp::UNIX_EPOCH);
        let condition = find(&status.conditions, "CapacityAvailable").unwrap();
        assert_eq!(condition.reason, "InUse");
        assert!(condition.message.contains("a/b"));
    }
}
