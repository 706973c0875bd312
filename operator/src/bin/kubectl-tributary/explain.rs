//! `explain`: what a pipeline means once defaults are merged, where each value came from, and what everything is called.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tributary_crds::effective::EffectivePipeline;
use tributary_crds::names;
use tributary_crds::relay::{ColumnConfig, ColumnSource, OnError};
use tributary_operator::pipeline::observe::RELAY_ORDINAL;
use tributary_operator::pipeline::validate::Accepted;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    pub(crate) object: String,
    pub(crate) digest: String,
    pub(crate) values: Vec<Row>,
    pub(crate) names: Vec<Name>,
    pub(crate) datasets: Vec<Dataset>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) field: &'static str,
    pub(crate) value: String,
    pub(crate) from: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Source {
    BuiltIn,
    Platform,
    Pipeline,
}

#[derive(Debug, Serialize)]
pub(crate) struct Name {
    pub(crate) what: &'static str,
    pub(crate) name: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    pub(crate) collection: String,
    pub(crate) topic: String,
    pub(crate) tables: Vec<Table>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table {
    pub(crate) entry: String,
    /// `database.table`.
    pub(crate) table: String,
    pub(crate) primary_key: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) column_type: String,
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_error: Option<String>,
}

/// A value that somebody may set, where both levels keep it, and what it is in effect.
struct Inherited {
    field: &'static str,
    /// Pointers into the specs of pipeline and platform; empty where that level cannot set it.
    pipeline: &'static str,
    platform: &'static str,
    value: fn(&EffectivePipeline) -> String,
}

/// One line per value that has a default.
const INHERITED: [Inherited; 17] = [
    of(
        "source.mongodb.topicPrefix",
        "/source/mongodb/topicPrefix",
        "",
        |e| e.source.topic_prefix.clone(),
    ),
    of("source.mongodb.capture", "/source/mongodb/capture", "", |e| {
        format!("{:?}", e.source.capture)
    }),
    of(
        "source.mongodb.snapshot.mode",
        "/source/mongodb/snapshot/mode",
        "",
        |e| format!("{:?}", e.source.snapshot_mode),
    ),
    of(
        "source.mongodb.pollInterval",
        "/source/mongodb/pollInterval",
        "",
        |e| time(e.source.poll_interval),
    ),
    of("topics.partitions", "", "/defaults/topics/partitions", |e| {
        e.topics.partitions.to_string()
    }),
    of(
        "topics.replicationFactor",
        "",
        "/defaults/topics/replicationFactor",
        |e| e.topics.replication_factor.to_string(),
    ),
    of("topics.retention", "", "/defaults/topics/retention", |e| {
        time(e.topics.retention)
    }),
    of(
        "freshness.hot",
        "/freshness/hot",
        "/defaults/freshness/hot",
        |e| e.freshness.hot.map_or_else(|| "no objective".to_owned(), time),
    ),
    of(
        "freshness.window",
        "/freshness/window",
        "/defaults/freshness/window",
        |e| time(e.freshness.window),
    ),
    of(
        "relay.resources.requests.cpu",
        "/relay/resources/requests/cpu",
        "/defaults/relay/resources/requests/cpu",
        |e| e.relay.requests.cpu.to_string(),
    ),
    of(
        "relay.resources.requests.memory",
        "/relay/resources/requests/memory",
        "/defaults/relay/resources/requests/memory",
        |e| e.relay.requests.memory.to_string(),
    ),
    of(
        "relay.resources.limits.cpu",
        "/relay/resources/limits/cpu",
        "/defaults/relay/resources/limits/cpu",
        |e| {
            e.relay
                .limit_cpu
                .as_ref()
                .map_or_else(|| "no limit".to_owned(), ToString::to_string)
        },
    ),
    of(
        "relay.resources.limits.memory",
        "/relay/resources/limits/memory",
        "/defaults/relay/resources/limits/memory",
        |e| e.relay.limit_memory.to_string(),
    ),
    of(
        "relay.batch.linger",
        "/relay/batch/linger",
        "/defaults/relay/batch/linger",
        |e| time(e.relay.linger),
    ),
    of(
        "relay.batch.maxBytes",
        "/relay/batch/maxBytes",
        "/defaults/relay/batch/maxBytes",
        |e| format!("{} bytes", e.relay.max_bytes),
    ),
    of(
        "relay.batch.maxRows",
        "/relay/batch/maxRows",
        "/defaults/relay/batch/maxRows",
        |e| e.relay.max_rows.to_string(),
    ),
    of(
        "deletionPolicy",
        "/deletionPolicy",
        "/defaults/deletionPolicy",
        |e| format!("{:?}", e.deletion_policy),
    ),
];

const fn of(
    field: &'static str,
    pipeline: &'static str,
    platform: &'static str,
    value: fn(&EffectivePipeline) -> String,
) -> Inherited {
    Inherited {
        field,
        pipeline,
        platform,
        value,
    }
}

/// As people write durations: `1h30m`.
fn time(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= size {
            let _ = write!(text, "{}{unit}", millis / size);
            millis %= size;
        }
    }
    text
}

pub(crate) fn explain(accepted: &Accepted) -> Result<Explained, serde_json::Error> {
    let effective = &accepted.effective;
    let owner = &effective.owner;
    let pipeline = serde_json::to_value(&accepted.pipeline.spec)?;
    let platform = serde_json::to_value(&accepted.platform.spec)?;
    let values = INHERITED.iter().map(|i| Row {
        field: i.field,
        value: (i.value)(effective),
        from: source(i, &pipeline, &platform),
    });
    let name = |what, name: String| Name { what, name };
    let platform_namespace = effective.platform.namespace.clone().unwrap_or_default();
    Ok(Explained {
        object: format!(
            "TenantPipeline {}/{} on {platform_namespace}/{}",
            owner.namespace, owner.name, effective.platform.name
        ),
        digest: effective.digest(),
        values: values.collect(),
        names: vec![
            name("owner mark", owner.mark()),
            name("connector", owner.connector()),
            name("consumer group", owner.consumer_group()),
            name("heartbeat topic", effective.heartbeat_topic()),
            name(
                "mirrored credential",
                format!(
                    "Secret {}/{}, keys {}.N",
                    accepted.mirrored.namespace,
                    accepted.mirrored.secret_ref.name,
                    owner.mirrored_key("uri")
                ),
            ),
            name(
                "relay",
                match effective.relay.replicas {
                    1 => format!(
                        "Deployment {platform_namespace}/{}",
                        owner.relay_deployment(RELAY_ORDINAL)
                    ),
                    n => format!(
                        "{n} Deployments {platform_namespace}/{}-0…{}",
                        owner.relay_base(),
                        n - 1
                    ),
                },
            ),
            name(
                "database",
                names::hot_database(
                    tributary_crds::effective::hot_database_pattern(&accepted.platform),
                    &effective.tenant,
                ),
            ),
        ],
        datasets: datasets(accepted),
    })
}

fn source(inherited: &Inherited, pipeline: &Value, platform: &Value) -> Source {
    let set = |spec: &Value, pointer: &str| !pointer.is_empty() && spec.pointer(pointer).is_some();
    if set(pipeline, inherited.pipeline) {
        Source::Pipeline
    } else if set(platform, inherited.platform) {
        Source::Platform
    } else {
        Source::BuiltIn
    }
}

fn datasets(accepted: &Accepted) -> Vec<Dataset> {
    let collection = |name: &str| {
        let found = accepted.effective.datasets.iter().find(|d| d.name == name);
        found.map(|d| d.collection.clone()).unwrap_or_default()
    };
    let table = |t: &tributary_crds::relay::TableConfig| Table {
        entry: t.entry.clone(),
        table: format!("{}.{}", t.database, t.table),
        primary_key: t.primary_key.clone(),
        columns: t.columns.iter().map(column).collect(),
    };
    accepted
        .datasets
        .iter()
        .map(|d| Dataset {
            name: d.name.clone(),
            collection: collection(&d.name),
            topic: d.topic.name.clone(),
            tables: d.tables.iter().map(table).collect(),
        })
        .collect()
}

fn column(column: &ColumnConfig) -> Column {
    Column {
        name: column.name.clone(),
        column_type: column.column_type.to_string(),
        source: source_text(&column.source),
        default: column.default.clone(),
        on_error: (column.on_error != OnError::Overflow).then(|| format!("{:?}", column.on_error)),
    }
}

/// As it is written in YAML.
fn source_text(source: &ColumnSource) -> String {
    match serde_json::to_value(source) {
        Ok(Value::Object(map)) => match map.into_iter().next() {
            Some((kind, Value::String(text))) if kind == "value" => format!("{text:?}"),
            Some((_, Value::String(text))) => text,
            Some((kind, other)) => format!("{kind} {other}"),
            None => String::new(),
        },
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

pub(crate) fn text(explained: &Explained) -> String {
    let mut out = format!("{}\neffective {}\n\n", explained.object, explained.digest);
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let fields = width(&mut explained.values.iter().map(|r| r.field.len()));
    let values = width(&mut explained.values.iter().map(|r| r.value.len()));
    for row in &explained.values {
        let from = match row.from {
            Source::BuiltIn => "built-in",
            Source::Platform => "platform",
            Source::Pipeline => "pipeline",
        };
        let _ = writeln!(out, "  {:fields$}  {:values$}  {from}", row.field, row.value);
    }
    out.push('\n');
    let whats = width(&mut explained.names.iter().map(|n| n.what.len()));
    for name in &explained.names {
        let _ = writeln!(out, "  {:whats$}  {}", name.what, name.name);
    }
    for dataset in &explained.datasets {
        let _ = writeln!(
            out,
            "\ndataset {}: collection {} → topic {}",
            dataset.name, dataset.collection, dataset.topic
        );
        for table in &dataset.tables {
            let _ = writeln!(
                out,
                "  {} → {} ({})",
                table.entry,
                table.table,
                table.primary_key.join(", ")
            );
            let names = width(&mut table.columns.iter().map(|c| c.name.len()));
            let types = width(&mut table.columns.iter().map(|c| c.column_type.len()));
            for c in &table.columns {
                let default = c
                    .default
                    .as_ref()
                    .map(|d| format!(", else {d:?}"))
                    .unwrap_or_default();
                let on_error = c
                    .on_error
                    .as_ref()
                    .map(|e| format!(", onError {e}"))
                    .unwrap_or_default();
                let _ = writeln!(
                    out,
                    "    {:names$}  {:types$}  ← {}{default}{on_error}",
                    c.name, c.column_type, c.source
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        let shown = |ms| time(Duration::from_millis(ms));
        assert_eq!(
            [
                shown(0),
                shown(50),
                shown(2000),
                shown(5_400_000),
                shown(604_800_000)
            ],
            ["0s", "50ms", "2s", "1h30m", "168h"]
        );
    }

    #[test]
    fn the_nearest_level_that_says_something_is_the_source() {
        let row = INHERITED
            .iter()
            .find(|i| i.field == "freshness.hot")
            .expect("a row");
        let said = serde_json::json!({"freshness": {"hot": "1s"}});
        let default = serde_json::json!({"defaults": {"freshness": {"hot": "2s"}}});
        let none = serde_json::json!({});
        assert_eq!(source(row, &said, &default), Source::Pipeline);
        assert_eq!(source(row, &none, &default), Source::Platform);
        assert_eq!(source(row, &none, &none), Source::BuiltIn);
    }
}
