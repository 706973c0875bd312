//! The relay behind guarded doors: Kafka by SASL_SSL, StarRocks' frontends and backends by https, its SQL by TLS. Each door once
//! with wrong credentials or a wrong authority, which the status names, and then with the right ones, without a restart.

#![allow(
    clippy::result_large_err,
    reason = "a condition that is not met shows the whole status it met"
)]

mod support;

use tributary_crds::relay::{
    BlockedCause, ColumnSource, Explode, KafkaCause, KafkaSasl, KafkaSecurity, KafkaTls, LaneState, OnError,
    SaslMechanism, StarRocksTls, TableConfig,
};
use tributary_stage::info::{SecureInfo, StarrocksInfo};
use tributary_stage::starrocks::{Login, sql};
use tributary_stage::{Options, Parts, Stage};

use support::{Kafka, Relay, column, dataset, event, eventually, key, table};

const TOPIC: &str = "acme.shop.orders";
const LETTERS: &str = "dead-letters";
const LINES: &str = "SELECT sku FROM shop.`lines` ORDER BY sku";
const OTHER_AUTHORITY: &str = include_str!("support/other-ca.crt");

/// A table that has to be read before it is written: one row per element.
fn lines() -> TableConfig {
    let sku = tributary_crds::relay::ColumnConfig {
        source: ColumnSource::Element("sku".into()),
        nullable: false,
        on_error: OnError::Reject,
        ..column("sku", "VARCHAR(16)", "x")
    };
    let mut lines = table("lines", vec![sku]);
    lines.primary_key.push("sku".into());
    lines.explode = Some(Explode { path: "items".into() });
    lines
}

struct Scene {
    kafka: Kafka,
    starrocks: StarrocksInfo,
    relay: Relay,
}

impl Scene {
    fn sql(&self, statement: &str) -> Result<String, String> {
        let login = Login {
            user: self.starrocks.user.clone(),
            password: self.starrocks.password.clone(),
        };
        sql(&self.starrocks.mysql, &login, statement)
    }

    /// One column of rows, once they are as expected.
    fn reads(&self, select: &str, expected: &str) {
        eventually("loaded", || match self.sql(select) {
            Ok(found) if found.split_whitespace().collect::<Vec<_>>().join(",") == expected => Ok(()),
            other => Err((other, self.relay.get("/status"))),
        });
    }

    fn send(&self, id: u64, skus: &[&str]) {
        let items: Vec<_> = skus.iter().map(|sku| format!(r#"{{"sku": "{sku}"}}"#)).collect();
        let document = format!(r#"{{"items": [{}]}}"#, items.join(","));
        self.kafka
            .send(TOPIC, 0, &key(id), Some(&event("u", Some(&document))));
        self.kafka.flush();
    }

    /// Waits until the relay says that Kafka cannot be used, with the cause and a word of the way out.
    fn refused_by_kafka(&self, cause: KafkaCause, word: &str) {
        eventually("Kafka's trouble named", || match self.relay.status().kafka {
            Some(trouble) if trouble.cause == cause && trouble.message.contains(word) => Ok(()),
            other => Err(other),
        });
        let (code, why) = self.relay.get("/readyz");
        assert!(code == 503 && why.contains(word), "{why}");
    }

    fn blocked(&self, wanted: BlockedCause, word: &str) {
        eventually("the lane says why", || {
            match &self.relay.status().datasets[0].tables[0].lane {
                LaneState::Blocked { cause, message, .. } if *cause == wanted && message.contains(word) => {
                    Ok(())
                }
                other => Err(other.clone()),
            }
        });
    }
}

fn authority(secure: &SecureInfo) -> String {
    std::fs::read_to_string(&secure.ca).unwrap()
}

#[test]
fn guarded_doors_open_to_the_right_credentials_and_say_what_is_wrong_with_others() {
    let stage = Stage::up(Parts::Relay, Options::default()).unwrap();
    let kafka_info = stage.info().kafka.clone().unwrap();
    let starrocks = stage.info().starrocks.clone().unwrap();
    let (broker, frontend) = (kafka_info.secure.unwrap(), starrocks.secure.clone().unwrap());
    let kafka = Kafka::at(kafka_info.bootstrap, &[(TOPIC, 1), (LETTERS, 1)]);
    let relay = Relay::configure(
        &kafka,
        std::slice::from_ref(&frontend.address),
        &[dataset(TOPIC, 1, vec![lines()])],
    );
    relay.write("kafka/username", &broker.user);
    relay.write("kafka/password", "wrong");
    relay.write("kafka-tls/ca.crt", OTHER_AUTHORITY);
    relay.write("starrocks-tls/ca.crt", OTHER_AUTHORITY);
    relay.write("credentials/username", &frontend.user);
    relay.write("credentials/password", "wrong");
    let (kafka_ca, starrocks_ca) = (relay.path("kafka-tls/ca.crt"), relay.path("starrocks-tls/ca.crt"));
    let credentials_dir = relay.path("kafka");
    relay.reconfigure(|config| {
        config.kafka.bootstrap_servers = vec![broker.address.clone()];
        config.kafka.dead_letter_topic = Some(kafka.topic(LETTERS));
        config.kafka.security = Some(KafkaSecurity {
            tls: Some(KafkaTls {
                ca_file: Some(kafka_ca),
            }),
            sasl: Some(KafkaSasl {
                mechanism: SaslMechanism::ScramSha512,
                credentials_dir,
            }),
        });
        config.starrocks.tls = Some(StarRocksTls {
            ca_file: Some(starrocks_ca),
            mysql: true,
        });
        config.starrocks.mysql_endpoints = vec![starrocks.mysql.clone()];
    });
    let mut scene = Scene {
        kafka,
        starrocks,
        relay,
    };
    scene.sql("CREATE DATABASE shop").unwrap();
    let tail = "DISTRIBUTED BY HASH(order_id) BUCKETS 1 PROPERTIES (\"replication_num\"=\"1\")";
    for table in [
        "`lines` (order_id VARCHAR(24) NOT NULL, sku VARCHAR(16) NOT NULL, _ver BIGINT NOT NULL, _extra JSON NULL) PRIMARY KEY (order_id, sku)",
        "plain (order_id VARCHAR(24) NOT NULL, n BIGINT NULL, _ver BIGINT NOT NULL, _extra JSON NULL) PRIMARY KEY (order_id)",
    ] {
        scene.sql(&format!("CREATE TABLE shop.{table} {tail}")).unwrap();
    }
    scene.send(1, &["a", "b", "c"]);
    scene.relay.start();
    kafka_opens(&scene, &broker);
    sql_opens(&scene, &frontend);
    stream_load_opens(&mut scene, &frontend);
}

fn kafka_opens(scene: &Scene, broker: &SecureInfo) {
    scene.refused_by_kafka(KafkaCause::TlsFailed, "kafka-tls/ca.crt");
    scene.relay.write("kafka-tls/ca.crt", &authority(broker));
    scene.refused_by_kafka(
        KafkaCause::AuthenticationFailed,
        "SCRAM-SHA-512 user and password in",
    );
    scene.relay.write("kafka/password", &broker.password);
    eventually("Kafka lets it in", || match scene.relay.status().kafka {
        None => Ok(()),
        other => Err(other),
    });
}

fn sql_opens(scene: &Scene, frontend: &SecureInfo) {
    scene.blocked(BlockedCause::TlsFailed, "offers no TLS for SQL");
    let guarded = scene.starrocks.secure_mysql.clone().unwrap();
    scene
        .relay
        .reconfigure(|config| config.starrocks.mysql_endpoints = vec![guarded]);
    scene.blocked(BlockedCause::TlsFailed, "starrocks-tls/ca.crt");
    scene.relay.write("starrocks-tls/ca.crt", &authority(frontend));
    scene.blocked(BlockedCause::AuthenticationFailed, "SQL: access denied");
    scene.relay.write("credentials/password", &frontend.password);
    scene.reads(LINES, "a,b,c");
    // What a document has no more is only known to the table: a relay that has just begun asks it, by TLS.
    scene.send(1, &["b"]);
    scene.reads(LINES, "b");
}

/// Without SQL before it: the load itself meets the wrong authority and the wrong password.
fn stream_load_opens(scene: &mut Scene, frontend: &SecureInfo) {
    scene.relay.kill();
    scene.relay.remap("orders", |dataset| {
        dataset.tables = vec![table("plain", vec![column("n", "BIGINT", "n")])];
    });
    scene.relay.write("starrocks-tls/ca.crt", OTHER_AUTHORITY);
    scene
        .relay
        .reconfigure(|config| config.starrocks.mysql_endpoints = Vec::new());
    scene.relay.start();
    scene.kafka.send(TOPIC, 0, &key(2), Some("not JSON"));
    scene
        .kafka
        .send(TOPIC, 0, &key(2), Some(&event("c", Some(r#"{"n": 2}"#))));
    scene.kafka.flush();
    scene.blocked(BlockedCause::TlsFailed, "starrocks-tls/ca.crt");
    scene.relay.write("credentials/password", "wrong");
    scene.relay.write("starrocks-tls/ca.crt", &authority(frontend));
    scene.blocked(BlockedCause::AuthenticationFailed, "HTTP 401");
    scene.relay.write("credentials/password", &frontend.password);
    scene.reads("SELECT n FROM shop.plain WHERE n IS NOT NULL", "2");
    // Again after each change of the files while it waited: its key makes it one letter.
    let parked = scene.relay.status().datasets[0].tables[0].parked;
    assert!(parked > 0, "parked by SASL_SSL too");
}
