//! What a librdkafka error means to a controller.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::backend::{Backend, BackendError, ErrorClass, Redactor};

/// Class and text of an error. `auth_failed`: the client's error callback has seen an authentication failure; the call
/// itself then merely times out.
pub(super) fn backend_error(
    operation: &str,
    error: &KafkaError,
    auth_failed: Option<String>,
    redactor: &Redactor,
) -> BackendError {
    let mut class = match code_of(error) {
        Some(code) => class_of(code),
        None => match error {
            KafkaError::ClientConfig(..)
            | KafkaError::ClientCreation(_)
            | KafkaError::AdminOpCreation(_)
            | KafkaError::Nul(_) => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        },
    };
    let mut text = match code_of(error) {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    if let (Some(reason), true) = (auth_failed, class.is_retryable()) {
        class = ErrorClass::AuthenticationFailed;
        text = reason;
    }
    BackendError::new(Backend::Kafka, class, operation, redactor.redact(&text))
}

/// `rdkafka_error_code` leaves out admin operations.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

pub(super) fn class_of(code: Code) -> ErrorClass {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::BrokerNotAvailable
        | Code::NetworkException => ErrorClass::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL => ErrorClass::AuthenticationFailed,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorClass::NotAuthorized,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownGroup
        | Code::GroupIdNotFound
        | Code::NoEnt => ErrorClass::NotFound,
        Code::TopicAlreadyExists => ErrorClass::Conflict,
        // A group with members cannot be deleted: its relay is still going down.
        Code::NonEmptyGroup => ErrorClass::Transient,
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidArgument
        | Code::InvalidGroupId
        | Code::PolicyViolation
        | Code::TopicDeletionDisabled => ErrorClass::Invalid,
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented => ErrorClass::Unsupported,
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_after_an_authentication_failure_is_one() {
        let timeout = KafkaError::AdminOp(Code::OperationTimedOut);
        let r = Redactor::default();
        assert_eq!(
            backend_error("x", &timeout, None, &r).class,
            ErrorClass::Transient
        );
        let told = backend_error("x", &timeout, Some("SASL said no".into()), &r);
        assert_eq!(told.class, ErrorClass::AuthenticationFailed);
        let exists = KafkaError::AdminOp(Code::TopicAlreadyExists);
        assert_eq!(
            backend_error("x", &exists, Some("old news".into()), &r).class,
            ErrorClass::Conflict
        );
        let replicas = KafkaError::AdminOp(Code::InvalidReplicationFactor);
        assert_eq!(backend_error("x", &replicas, None, &r).class, ErrorClass::Invalid);
    }
}
