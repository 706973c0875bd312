//! What all Kafka clients of the relay share: whom they ask, who they say they are, whom they believe, and what keeps them from it.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::statistics::Statistics;
use tributary_crds::relay::{KafkaCause, KafkaConfig, KafkaSecurity, KafkaTrouble};

use crate::access::Access;
use crate::lane::now_ms;

/// Settings of any client; consumer and producer add theirs.
pub fn client(kafka: &KafkaConfig, access: &Access) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap_servers.join(","))
        .set("client.id", &kafka.group_instance_id)
        .set("allow.auto.create.topics", "false")
        // A broker that is back is found soon: the default's 10 s would be latency.
        .set("reconnect.backoff.max.ms", "2000");
    let Some(KafkaSecurity { tls, sasl }) = &kafka.security else {
        return config;
    };
    let protocol = match (tls, sasl) {
        (Some(_), Some(_)) => "SASL_SSL",
        (Some(_), None) => "SSL",
        (None, Some(_)) => "SASL_PLAINTEXT",
        (None, None) => "PLAINTEXT",
    };
    config.set("security.protocol", protocol);
    match &access.kafka_authority {
        Some(authority) => config.set("ssl.ca.pem", &authority.pem),
        // OpenSSL is linked in and knows no place of its own.
        None => config.set("ssl.ca.location", "probe"),
    };
    if let (Some(sasl), Some(login)) = (sasl, &access.kafka_login) {
        config
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &login.username)
            .set("sasl.password", &login.password);
    }
    config
}

/// Whether Kafka can be used, as the client hears it.
#[derive(Debug)]
pub struct Reach {
    brokers: String,
    security: KafkaSecurity,
    trouble: Mutex<Option<KafkaTrouble>>,
}

impl Reach {
    pub fn new(kafka: &KafkaConfig) -> Self {
        Self {
            brokers: kafka.bootstrap_servers.join(","),
            security: kafka.security.clone().unwrap_or_default(),
            trouble: Mutex::default(),
        }
    }

    pub fn trouble(&self) -> Option<KafkaTrouble> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An error of the client. One that a single broker of several has is none of the relay's.
    pub fn failed(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let cause = match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                KafkaCause::AuthenticationFailed
            }
            Some(RDKafkaErrorCode::SSL) => KafkaCause::TlsFailed,
            Some(RDKafkaErrorCode::AllBrokersDown) => KafkaCause::Unreachable,
            _ => return,
        };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows every refusal and says less.
        if cause == KafkaCause::Unreachable && trouble.is_some() {
            return;
        }
        let since_ms = trouble.as_ref().map_or_else(now_ms, |known| known.since_ms);
        *trouble = Some(KafkaTrouble {
            cause,
            message: self.explain(cause, reason),
            since_ms,
        });
    }

    /// The client's statistics name each broker's state: one that is up ends all trouble.
    pub fn heard(&self, statistics: &Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn explain(&self, cause: KafkaCause, reason: &str) -> String {
        let brokers = &self.brokers;
        match cause {
            KafkaCause::Unreachable => {
                format!(
                    "no broker of {brokers} answers: {reason}. Nothing is lost; reading goes on when one does"
                )
            }
            KafkaCause::AuthenticationFailed => {
                let place = match &self.security.sasl {
                    Some(sasl) => format!(
                        "the {} user and password in {}",
                        sasl.mechanism.as_str(),
                        sasl.credentials_dir.display()
                    ),
                    None => "a user and password, which kafka.sasl does not give".to_owned(),
                };
                format!(
                    "{brokers} refuses {place}: {reason}. Correct the Secret; it is taken up within a minute or two"
                )
            }
            KafkaCause::TlsFailed => {
                let whom = match self.security.tls.as_ref().map(|tls| &tls.ca_file) {
                    Some(Some(path)) => format!("the authority in {}", path.display()),
                    Some(None) => "the authorities this machine knows".to_owned(),
                    None => "nobody: kafka.tls is not set".to_owned(),
                };
                format!(
                    "no TLS with {brokers}: {reason}. The brokers' certificate must name them and be signed by {whom}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Broker;

    fn statistics(state: &str) -> Statistics {
        let broker = Broker {
            state: state.into(),
            ..Broker::default()
        };
        Statistics {
            brokers: [("b".to_owned(), broker)].into(),
            ..Statistics::default()
        }
    }

    #[test]
    fn the_most_telling_error_stays_until_a_broker_is_up() {
        let reach = Reach {
            brokers: "k:9093".into(),
            security: KafkaSecurity::default(),
            trouble: Mutex::default(),
        };
        let cause = |reach: &Reach| reach.trouble().map(|trouble| trouble.cause);
        reach.failed(Some(RDKafkaErrorCode::BrokerTransportFailure), "one of several");
        assert_eq!(cause(&reach), None);
        reach.failed(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 down");
        assert_eq!(cause(&reach), Some(KafkaCause::Unreachable));
        reach.failed(Some(RDKafkaErrorCode::Authentication), "bad password");
        reach.failed(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 down");
        reach.heard(&statistics("AUTH_REQ"));
        let trouble = reach.trouble().unwrap();
        assert_eq!(trouble.cause, KafkaCause::AuthenticationFailed);
        assert!(
            trouble.message.contains("k:9093") && trouble.message.contains("bad password"),
            "{trouble:?}"
        );
        reach.heard(&statistics("UP"));
        assert_eq!(cause(&reach), None);
    }
}
