//! The Debezium MongoDB connector's configuration, rendered from what a pipeline asks. Pure; every choice has its reason
//! beside it, and a string from a user never reaches Connect's `${…}` substitution.

use std::time::Duration;

use super::model::ConnectorConfig;

/// Class of the connector, also used to find its plugin.
pub const CONNECTOR_CLASS: &str = "io.debezium.connector.mongodb.MongoDbConnector";
/// Configuration key with the owner mark. Connect keeps keys it does not know.
pub const OWNER_KEY: &str = "tributary.owner";
/// Mark of a connector that lost its place in the source's history: it survives the operator and every status.
pub const HELD_KEY: &str = "tributary.held";
/// `<database>.<collection>`, comma separated: what is captured, and thereby what has been read once.
pub const COLLECTIONS_KEY: &str = "collection.include.list";
pub const EXACTLY_ONCE_KEY: &str = "exactly.once.support";
/// The one key whose validation error can pass by itself: the source was not reachable.
pub const CONNECTION_STRING_KEY: &str = "mongodb.connection.string";
/// Debezium's prefix of heartbeat topics; one topic per connector.
pub const HEARTBEAT_PREFIX: &str = "__debezium-heartbeat";
/// The same of a connector that reads collections which joined later.
pub const SNAPSHOT_HEARTBEAT_PREFIX: &str = "__debezium-heartbeat-snapshot";
pub const HEARTBEAT_PREFIX_KEY: &str = "topic.heartbeat.prefix";
/// Liveness signal and what keeps a quiet tenant's resume token fresh.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of events Debezium may hold in memory (its own default is "unlimited").
const QUEUE_BYTES: u64 = 16 << 20;
/// Attempts before a task gives up and its trace says why: Debezium's default (-1) restarts for ever and reports RUNNING
/// meanwhile. With the two pauses below that is within the time after which a silent task counts as stalled.
const ERRORS_MAX_RETRIES: u32 = 4;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const SERVER_SELECTION: Duration = Duration::from_secs(10);
/// Connect names are path segments and keys; Kafka's topic alphabet is the common subset.
const NAME_MAX: usize = 249;

/// What is captured of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// The document as it is when Debezium looks it up.
    #[default]
    UpdateFull,
    /// Also the document as it was; needs pre-images enabled on the collection.
    UpdateFullWithPreImage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    #[default]
    Initial,
    NoData,
}

/// `required` fails validation on workers without exactly-once; `Requested` is for clusters that cannot have it, and
/// costs the condition `SourceExactlyOnce`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExactlyOnce {
    #[default]
    Required,
    Requested,
}

impl ExactlyOnce {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Requested => "requested",
        }
    }
}

/// Files a config provider of the workers reads: secrets never pass through Connect's REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Alias of the `DirectoryConfigProvider` in the worker configuration, such as `dir`.
    pub provider: String,
    /// Where the workers mount the mirrored Secret.
    pub mount_path: String,
    /// Key with the connection string.
    pub uri: String,
    /// Keys with user and password, when they are not inside the connection string.
    pub user: Option<String>,
    pub password: Option<String>,
}

/// Everything that decides a connector's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorSpec {
    /// `<ownerID>.<namespace>.<pipeline>`.
    pub name: String,
    /// `tributary:<ownerID>/<namespace>/<name>`.
    pub owner: String,
    /// Part of every topic name and of the offset key: changing it means a new snapshot.
    pub topic_prefix: String,
    pub database: String,
    /// Collections without their database.
    pub collections: Vec<String>,
    pub credentials: CredentialFiles,
    pub capture: Capture,
    pub snapshot: SnapshotMode,
    pub exactly_once: ExactlyOnce,
    pub poll_interval: Duration,
    /// `max.message.bytes` of the topics; the producer's request bound follows it.
    pub max_message_bytes: u64,
}

/// Why a specification cannot become a configuration. Names the field in the pipeline's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error(
        "{field} contains \"${{\": Kafka Connect would read it as a reference to a secret of its workers"
    )]
    Substitution { field: &'static str },
    #[error("{field} is empty")]
    Empty { field: &'static str },
    #[error("{field} {value:?} {problem}")]
    Malformed {
        field: &'static str,
        value: String,
        problem: &'static str,
    },
}

/// `<prefix>.<database>.<collection>`, refused where Debezium would silently rename it (two collections could meet in
/// one topic).
pub fn topic_name(prefix: &str, database: &str, collection: &str) -> Result<String, RenderError> {
    let name = format!("{prefix}.{database}.{collection}");
    if name.len() > NAME_MAX {
        return Err(malformed("topic", &name, "is longer than 249 characters"));
    }
    if !name.chars().all(is_topic_char) {
        return Err(malformed(
            "topic",
            &name,
            "may hold letters, digits, '.', '_' and '-' only",
        ));
    }
    Ok(name)
}

/// The connector's heartbeat topic. The operator creates it with the others: the connector makes no topics.
pub fn heartbeat_topic(prefix: &str) -> String {
    format!("{HEARTBEAT_PREFIX}.{prefix}")
}

/// The heartbeat topic of a connector that reads collections which joined later.
pub fn snapshot_heartbeat_topic(prefix: &str) -> String {
    format!("{SNAPSHOT_HEARTBEAT_PREFIX}.{prefix}")
}

/// The configuration, without Connect's own `name` key, of a specification that [`check`] found good.
pub fn render(spec: &ConnectorSpec) -> ConnectorConfig {
    let mut config = ConnectorConfig::new();
    let mut set = |key: &str, value: &str| {
        config.insert(key.to_owned(), value.to_owned());
    };
    set("connector.class", CONNECTOR_CLASS);
    set(OWNER_KEY, &spec.owner);
    set("tasks.max", "1");
    set("topic.prefix", &spec.topic_prefix);

    let files = &spec.credentials;
    set(CONNECTION_STRING_KEY, &files.reference(&files.uri));
    if let Some(user) = &files.user {
        set("mongodb.user", &files.reference(user));
    }
    if let Some(password) = &files.password {
        set("mongodb.password", &files.reference(password));
    }

    // Database scope needs read on that database only, and keeps other tenants' events off the wire. Literal filters
    // are exact; regular expressions are unanchored and case-insensitive on the server.
    set("capture.scope", "database");
    set("capture.target", &spec.database);
    set(COLLECTIONS_KEY, &include_list(spec));
    set("filters.match.mode", "literal");
    set(
        "capture.mode",
        match spec.capture {
            Capture::UpdateFull => "change_streams_update_full",
            Capture::UpdateFullWithPreImage => "change_streams_update_full_with_pre_image",
        },
    );
    // Never `when_needed`: a gap must be seen and swept, not papered over (correctness.md rule 5).
    set(
        "snapshot.mode",
        match spec.snapshot {
            SnapshotMode::Initial => "initial",
            SnapshotMode::NoData => "no_data",
        },
    );

    set("heartbeat.interval.ms", &millis(HEARTBEAT_INTERVAL));
    set("poll.interval.ms", &millis(spec.poll_interval));
    set("max.batch.size", "2048");
    set("max.queue.size", "8192");
    set("max.queue.size.in.bytes", &QUEUE_BYTES.to_string());
    set("errors.max.retries", &ERRORS_MAX_RETRIES.to_string());
    set("retriable.restart.connector.wait.ms", &millis(RETRY_PAUSE));
    set("mongodb.server.selection.timeout.ms", &millis(SERVER_SELECTION));
    // The check at a task's start reports every refusal as lost history, a missing right too: without it the stream itself fails,
    // with the server's own error.
    set("internal.log.position.check.enable", "false");
    set("extended.headers.enabled", "false");
    // Topics have cleanup.policy=delete: a tombstone after each delete would say nothing.
    set("tombstones.on.delete", "false");

    set(EXACTLY_ONCE_KEY, spec.exactly_once.as_str());
    set("transaction.boundary", "poll");

    for side in ["key", "value"] {
        let converter = "org.apache.kafka.connect.json.JsonConverter";
        set(&format!("{side}.converter"), converter);
        set(&format!("{side}.converter.schemas.enable"), "false");
        set(&format!("{side}.converter.replace.null.with.default"), "false");
    }
    let max = spec.max_message_bytes;
    set("producer.override.max.request.size", &max.to_string());
    // The default buffer (32 MiB) must hold one request.
    set("producer.override.buffer.memory", &max.max(32 << 20).to_string());
    set("producer.override.compression.type", "lz4");
    config
}

impl CredentialFiles {
    fn reference(&self, file: &str) -> String {
        format!("${{{}:{}:{file}}}", self.provider, self.mount_path)
    }
}

fn include_list(spec: &ConnectorSpec) -> String {
    let mut names: Vec<String> = spec
        .collections
        .iter()
        .map(|c| format!("{}.{c}", spec.database))
        .collect();
    // Sorted: the order in which datasets are written must not restart the task.
    names.sort();
    names.dedup();
    names.join(",")
}

/// Whether nothing in a specification would widen what is captured or reach Connect's `${…}` substitution.
pub fn check(spec: &ConnectorSpec) -> Result<(), RenderError> {
    let files = &spec.credentials;
    let fields = [
        ("connector name", &spec.name),
        ("owner", &spec.owner),
        ("source.mongodb.topicPrefix", &spec.topic_prefix),
        ("source.mongodb.database", &spec.database),
        ("connect.sourceSecrets provider", &files.provider),
        ("connect.sourceSecrets mountPath", &files.mount_path),
        ("connection secret key", &files.uri),
    ];
    let optional = [
        ("credentials secret user key", files.user.as_ref()),
        ("credentials secret password key", files.password.as_ref()),
    ];
    let optional = optional.into_iter().filter_map(|(f, v)| Some((f, v?)));
    let collections = spec.collections.iter().map(|c| ("datasets collection", c));
    for (field, value) in fields.into_iter().chain(optional).chain(collections) {
        plain(field, value)?;
    }
    if spec.collections.is_empty() {
        // An empty include list means "all collections" to Debezium.
        return Err(RenderError::Empty {
            field: "datasets collection",
        });
    }
    // The provider's own separators: a key with one of them would name another file.
    for (field, value) in [
        ("connect.sourceSecrets provider", &files.provider),
        ("connect.sourceSecrets mountPath", &files.mount_path),
        ("connection secret key", &files.uri),
    ] {
        if value.contains([':', '}', '{', '$']) {
            return Err(malformed(field, value, "may not contain ':', '$' or braces"));
        }
    }
    for collection in &spec.collections {
        if collection.contains(',') || collection.trim() != collection {
            return Err(malformed(
                "datasets collection",
                collection,
                "may not contain a comma or outer blanks: the include list is split at commas",
            ));
        }
        topic_name(&spec.topic_prefix, &spec.database, collection)?;
    }
    Ok(())
}

fn plain(field: &'static str, value: &str) -> Result<(), RenderError> {
    if value.is_empty() {
        return Err(RenderError::Empty { field });
    }
    if value.contains("${") {
        return Err(RenderError::Substitution { field });
    }
    if value.chars().any(char::is_control) {
        return Err(malformed(field, value, "contains a control character"));
    }
    Ok(())
}

fn malformed(field: &'static str, value: &str, problem: &'static str) -> RenderError {
    RenderError::Malformed {
        field,
        value: value.chars().take(64).collect(),
        problem,
    }
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec() -> ConnectorSpec {
        ConnectorSpec {
            name: "prod-eu1.tenant-acme.acme".into(),
            owner: "tributary:prod-eu1/tenant-acme/acme".into(),
            topic_prefix: "acme".into(),
            database: "shop_acme".into(),
            collections: vec!["orders".into(), "customers".into(), "orders".into()],
            credentials: CredentialFiles {
                provider: "dir".into(),
                mount_path: "/opt/tributary/sources".into(),
                uri: "tenant-acme.acme.uri".into(),
                user: None,
                password: None,
            },
            capture: Capture::UpdateFull,
            snapshot: SnapshotMode::Initial,
            exactly_once: ExactlyOnce::Required,
            poll_interval: Duration::from_millis(50),
            max_message_bytes: 33_554_432,
        }
    }

    #[test]
    fn the_configuration_is_the_one_the_reference_asks_for() {
        check(&spec()).expect("good");
        let config = render(&spec());
        let get = |key: &str| config.get(key).map(String::as_str);
        assert_eq!(
            get("mongodb.connection.string"),
            Some("${dir:/opt/tributary/sources:tenant-acme.acme.uri}")
        );
        assert_eq!(
            get("collection.include.list"),
            Some("shop_acme.customers,shop_acme.orders")
        );
        assert_eq!(get("filters.match.mode"), Some("literal"));
        assert_eq!(get("heartbeat.interval.ms"), Some("5000"));
        assert_eq!(get("poll.interval.ms"), Some("50"));
        assert_eq!(get("exactly.once.support"), Some("required"));
        assert_eq!(
            get("tributary.owner"),
            Some("tributary:prod-eu1/tenant-acme/acme")
        );
        assert_eq!(get("errors.max.retries"), Some("4"));
        assert_eq!(get("internal.log.position.check.enable"), Some("false"));
        assert_eq!(get("name"), None);
    }

    #[test]
    fn a_user_string_never_reaches_the_config_providers() {
        for change in [
            |s: &mut ConnectorSpec| s.database = "${dir:/x:y}".into(),
            |s: &mut ConnectorSpec| s.topic_prefix = "a${b".into(),
            |s: &mut ConnectorSpec| s.collections[0] = "${env:X}".into(),
            |s: &mut ConnectorSpec| s.credentials.uri = "${x}".into(),
        ] {
            let mut bad = spec();
            change(&mut bad);
            assert!(
                matches!(check(&bad), Err(RenderError::Substitution { .. })),
                "{bad:?}"
            );
        }
        let mut bad = spec();
        bad.credentials.uri = "a:b".into();
        assert!(matches!(check(&bad), Err(RenderError::Malformed { .. })));
    }

    #[test]
    fn collections_that_would_widen_or_merge_are_refused() {
        for collection in ["a,b", " a", "a b", "é", ""] {
            let mut bad = spec();
            bad.collections = vec![collection.into()];
            assert!(check(&bad).is_err(), "{collection:?}");
        }
        let mut none = spec();
        none.collections.clear();
        assert!(check(&none).is_err());
    }
}
