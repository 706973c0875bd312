//! What a failed task's stack trace means: one table of known patterns, one verdict each. Pure.

use std::sync::LazyLock;

use regex::Regex;

use super::health::{ConnectorReason, Remedy};

/// A known pattern in a stack trace.
struct TraceRule {
    pattern: Regex,
    reason: ConnectorReason,
    remedy: Remedy,
    says: &'static str,
}

/// First match wins: the specific before the general.
const RULES: [(&str, ConnectorReason, Remedy, &str); 14] = {
    use ConnectorReason as R;
    [
        // Also what a token of another cluster, a dropped database and a closed change stream end in.
        (
            r"ChangeStreamHistoryLost|error (?:286|260|280)\b",
            R::ResumeTokenLost,
            Remedy::Hold,
            "The source no longer holds the change history from the stored position on: changes are lost.",
        ),
        // Debezium's own check of the position says so whatever refused it, a missing right too (tried on 3.6.1): it is switched
        // off, and a task that still ran it tells the truth after its restart.
        (
            r"no longer available on the server",
            R::TaskFailed,
            Remedy::RestartFailed,
            "The source refused the stored position or the connector itself; the task is restarted to learn which.",
        ),
        (
            r"previously stopped while taking a snapshot",
            R::ConfigInvalid,
            Remedy::Rarely,
            "The snapshot was interrupted and the snapshot mode does not allow another: set snapshot.mode to Initial or delete the connector's offsets.",
        ),
        (
            r"BSONObjectTooLarge|error 10334\b|BSONObj(?:ect)? size",
            R::OversizeEvent,
            Remedy::Rarely,
            "A change event is larger than MongoDB's 16 MiB limit: drop pre-images (capture: UpdateFull) or make the document smaller.",
        ),
        (
            r"RecordTooLargeException",
            R::OversizeEvent,
            Remedy::Rarely,
            "An event is larger than the topic or the producer allows: raise max.message.bytes of the topic and message.max.bytes of the brokers.",
        ),
        (
            r"error 13 \(Unauthorized\)|error 18\b|Exception authenticating|MongoSecurityException",
            R::AuthenticationFailed,
            Remedy::Rarely,
            "The source refuses the credentials or the user may not read the change stream.",
        ),
        (
            r"(?:Topic|Cluster|Group|TransactionalId)AuthorizationException|SaslAuthenticationException|SslAuthenticationException",
            R::AuthenticationFailed,
            Remedy::Rarely,
            "Kafka refuses the connector: its producer needs Write on the topics and on the transactional id.",
        ),
        (
            r"Replica set not specified|reports wire version|error 40573\b|ConfigException",
            R::ConfigInvalid,
            Remedy::Rarely,
            "The source or the connection string does not fit (a replica set from MongoDB 4.2 on and replicaSet=… in the URI are needed).",
        ),
        // Kafka was slow while the worker fenced its predecessor (seen under load): another try heals it.
        (
            r"zombie fencing|ProducerFencedException|InvalidProducerEpochException|InvalidPidMappingException",
            R::TaskFailed,
            Remedy::RestartFailed,
            "Kafka did not fence the task's predecessor in time; the task is restarted.",
        ),
        (
            r"Mongo(?:Timeout|Socket\w*|NotPrimary|NodeIsRecovering|Interrupted)Exception|error (?:91|189|11600|11602|10107|13435|13436|50)\b",
            R::SourceUnreachable,
            Remedy::RestartFailed,
            "The source cannot be reached; the task is restarted with a growing pause.",
        ),
        (
            r"UnknownHostException",
            R::SourceUnreachable,
            Remedy::RestartFailed,
            "A host of the connection string does not resolve; the task is restarted with a growing pause.",
        ),
        (
            r"Tolerance exceeded in error handler|\bDataException|SerializationException|SchemaBuilderException",
            R::TaskFailed,
            Remedy::Rarely,
            "A record could not be converted; a restart would meet it again.",
        ),
        (
            r"OutOfMemoryError|NoClassDefFoundError|NoSuchMethodError",
            R::TaskFailed,
            Remedy::Rarely,
            "The worker itself is at fault: look at its memory and its plugin path.",
        ),
        (
            r"org\.apache\.kafka\.common\.errors\.(?:TimeoutException|DisconnectException|NotEnoughReplicas\w*|UnknownTopicOrPartitionException|NetworkException)",
            R::TaskFailed,
            Remedy::RestartFailed,
            "Kafka did not answer the connector in time; the task is restarted with a growing pause.",
        ),
    ]
};

static COMPILED: LazyLock<Vec<TraceRule>> = LazyLock::new(|| {
    RULES
        .iter()
        .filter_map(|(pattern, reason, remedy, says)| {
            let pattern = Regex::new(pattern).ok()?;
            Some(TraceRule {
                pattern,
                reason: *reason,
                remedy: *remedy,
                says,
            })
        })
        .collect()
});

/// Reason, sentence and remedy of a trace; an unknown one is worth paced restarts.
pub(super) fn classify(trace: &str) -> (ConnectorReason, String, Remedy) {
    let cause = root_cause(trace);
    let Some(rule) = COMPILED.iter().find(|r| r.pattern.is_match(trace)) else {
        let text = match cause {
            Some(cause) => format!("The task failed: {cause}"),
            None => "The task failed without a trace.".to_owned(),
        };
        return (ConnectorReason::TaskFailed, text, Remedy::RestartFailed);
    };
    let text = match cause {
        Some(cause) => format!("{} ({cause})", rule.says),
        None => rule.says.to_owned(),
    };
    (rule.reason, text, rule.remedy)
}

/// The innermost `Caused by:` (else the first line), without the stack and the package name.
fn root_cause(trace: &str) -> Option<String> {
    const SHOWN: usize = 160;
    let cause = trace.rsplit("Caused by: ").next()?.lines().next()?.trim();
    let (class, text) = cause.split_once(':').unwrap_or((cause, ""));
    let class = class.rsplit('.').next().unwrap_or(class).trim();
    let short: String = text.trim().chars().take(SHOWN).collect();
    match (class.is_empty(), short.is_empty()) {
        (true, true) => None,
        (_, true) => Some(class.chars().take(SHOWN).collect()),
        _ => Some(format!("{class}: {short}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectorReason as R;

    /// Traces as the reference page quotes them from Connect 4.3.1 with Debezium 3.6.1 (§3, §3.3, §4.1, §4.5), and what Kafka's
    /// and the driver's own sources throw where it quotes none.
    const TRACES: [(&str, R, Remedy); 24] = [
        (
            "io.debezium.DebeziumException: The connector is trying to read change stream starting at {sec=1795362420, ord=6, resume_token=gmkB}, but this is no longer available on the server. Reconfigure the connector to use a snapshot mode when needed.",
            R::TaskFailed,
            Remedy::RestartFailed,
        ),
        (
            "Caused by: com.mongodb.MongoCommandException: Command failed with error 286 (ChangeStreamHistoryLost): 'Resume of change stream was not possible, as the resume point may no longer be in the oplog.' on server h:27017.",
            R::ResumeTokenLost,
            Remedy::Hold,
        ),
        (
            "com.mongodb.MongoCommandException: Command failed with error 260 (InvalidResumeToken): 'Attempting to resume a change stream using resumeAfter is not allowed from an invalidate notification.'",
            R::ResumeTokenLost,
            Remedy::Hold,
        ),
        (
            "com.mongodb.MongoCommandException: Command failed with error 280 (ChangeStreamFatalError): 'cannot resume stream; the resume token was not found.'",
            R::ResumeTokenLost,
            Remedy::Hold,
        ),
        (
            "io.debezium.DebeziumException: The connector previously stopped while taking a snapshot, but now the connector is configured to never allow snapshots.",
            R::ConfigInvalid,
            Remedy::Rarely,
        ),
        (
            "Caused by: com.mongodb.MongoCommandException: Command failed with error 10334 (BSONObjectTooLarge): 'BSONObj size: 16777300 is invalid.'",
            R::OversizeEvent,
            Remedy::Rarely,
        ),
        (
            "org.apache.kafka.common.errors.RecordTooLargeException: The message is 20000000 bytes when serialized",
            R::OversizeEvent,
            Remedy::Rarely,
        ),
        (
            "Caused by: com.mongodb.MongoCommandException: Command failed with error 13 (Unauthorized): 'not authorized on shop to execute command'",
            R::AuthenticationFailed,
            Remedy::Rarely,
        ),
        (
            "com.mongodb.MongoSecurityException: Exception authenticating MongoCredential{mechanism=SCRAM-SHA-256}\nCaused by: com.mongodb.MongoCommandException: Command failed with error 18 (AuthenticationFailed): 'Authentication failed.'",
            R::AuthenticationFailed,
            Remedy::Rarely,
        ),
        (
            "org.apache.kafka.common.errors.TransactionalIdAuthorizationException: Transactional Id authorization failed.",
            R::AuthenticationFailed,
            Remedy::Rarely,
        ),
        (
            "org.apache.kafka.common.errors.TopicAuthorizationException: Not authorized to access topics: [acme.shop.orders]",
            R::AuthenticationFailed,
            Remedy::Rarely,
        ),
        (
            "io.debezium.DebeziumException: Replica set not specified in connection string for REPLICA_SET cluster.",
            R::ConfigInvalid,
            Remedy::Rarely,
        ),
        (
            "com.mongodb.MongoIncompatibleDriverException: Server at h:27017 reports wire version 7, but this version of the driver requires at least 8 (MongoDB 4.2).",
            R::ConfigInvalid,
            Remedy::Rarely,
        ),
        (
            "com.mongodb.MongoCommandException: Command failed with error 40573 (Location40573): 'The $changeStream stage is only supported on replica sets'",
            R::ConfigInvalid,
            Remedy::Rarely,
        ),
        (
            "org.apache.kafka.connect.errors.ConnectException: Failed to read to end of config topic before performing zombie fencing",
            R::TaskFailed,
            Remedy::RestartFailed,
        ),
        (
            "org.apache.kafka.common.errors.ProducerFencedException: There is a newer producer with the same transactionalId which fences the current one.",
            R::TaskFailed,
            Remedy::RestartFailed,
        ),
        (
            "Caused by: com.mongodb.MongoTimeoutException: Timed out while waiting for a server that matches WritableServerSelector. Client view of cluster state is {type=REPLICA_SET}",
            R::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "com.mongodb.MongoSocketReadException: Prematurely reached end of stream",
            R::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "com.mongodb.MongoNotPrimaryException: Command failed with error 10107 (NotWritablePrimary): 'not primary'",
            R::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "Caused by: java.net.UnknownHostException: mongo-0.mongodb.svc: Name or service not known",
            R::SourceUnreachable,
            Remedy::RestartFailed,
        ),
        (
            "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler\nCaused by: org.apache.kafka.connect.errors.DataException: Cannot list fields on non-struct type",
            R::TaskFailed,
            Remedy::Rarely,
        ),
        (
            "Caused by: java.lang.OutOfMemoryError: Java heap space",
            R::TaskFailed,
            Remedy::Rarely,
        ),
        (
            "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception from producer send callback\nCaused by: org.apache.kafka.common.errors.TimeoutException: Expiring 3 record(s) for acme.shop.orders-0:120001 ms has passed since batch creation",
            R::TaskFailed,
            Remedy::RestartFailed,
        ),
        (
            "java.lang.IllegalStateException: something new",
            R::TaskFailed,
            Remedy::RestartFailed,
        ),
    ];

    #[test]
    fn every_rule_compiles_and_is_met_by_a_trace() {
        assert_eq!(COMPILED.len(), RULES.len());
        for rule in COMPILED.iter() {
            assert!(
                TRACES.iter().any(|(t, _, _)| rule.pattern.is_match(t)),
                "{}",
                rule.pattern
            );
        }
    }

    #[test]
    fn every_failure_mode_has_its_verdict() {
        for (trace, reason, remedy) in TRACES {
            let (r, text, m) = classify(trace);
            assert_eq!((r, m), (reason, remedy), "{trace}");
            assert!(text.len() < 420, "{text}");
        }
    }

    /// Recorded from Connect 4.3.1 with Debezium 3.6.1 against the MongoDB stand-in's faults, stack frames left out.
    #[test]
    fn recorded_traces_have_their_verdicts() {
        let text = include_str!("../../../tests/data/debezium-traces-3.6.1.json");
        let recorded: std::collections::BTreeMap<String, String> =
            serde_json::from_str(text).expect("traces");
        let found: Vec<(&str, R, Remedy)> = recorded
            .iter()
            .map(|(name, trace)| {
                let (reason, _, remedy) = classify(trace);
                (name.as_str(), reason, remedy)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("authentication", R::AuthenticationFailed, Remedy::Rarely),
                (
                    "authentication, position check on",
                    R::TaskFailed,
                    Remedy::RestartFailed
                ),
                ("history-lost", R::ResumeTokenLost, Remedy::Hold),
                ("outage", R::SourceUnreachable, Remedy::RestartFailed),
                (
                    "outage, position check on",
                    R::SourceUnreachable,
                    Remedy::RestartFailed
                ),
                ("oversize", R::OversizeEvent, Remedy::Rarely),
                ("unauthorized", R::AuthenticationFailed, Remedy::Rarely),
                (
                    "unauthorized, position check on",
                    R::TaskFailed,
                    Remedy::RestartFailed
                ),
            ]
        );
    }

    #[test]
    fn the_message_names_the_root_cause_without_its_stack() {
        let trace = "org.apache.kafka.connect.errors.ConnectException: outer\n\tat a.b.C(C.java:1)\nCaused by: com.mongodb.MongoTimeoutException: Timed out after 30000 ms\n\tat x.y.Z(Z.java:2)";
        assert_eq!(
            root_cause(trace).as_deref(),
            Some("MongoTimeoutException: Timed out after 30000 ms")
        );
        assert_eq!(root_cause(""), None);
    }
}
