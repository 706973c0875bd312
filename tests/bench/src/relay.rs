//! The relay, as the program it is: configured by files, reading a topic, loading into an endpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::json;
use tributary_crds::relay::{DatasetConfig, RelayConfig};
use tributary_stage::binary::{Selection, build};

use crate::discard::Endpoint;
use crate::measure::{Measured, Running};

/// Builds the program as the images have it.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let packages = ["tributary-operator", "tributary-relay"];
    Ok(build(Selection::Image(&packages), &["tributary-relay"])?.remove(0))
}

/// The memory limit of the operator's Deployments: the relay takes its bounds from it.
const POD_LIMIT: u64 = 256 << 20;

pub(crate) struct Setting<'a> {
    pub program: &'a Path,
    pub kafka: &'a str,
    pub topic: &'a str,
    pub linger_ms: u64,
    /// A limit of the batch's bytes; the default of the custom resource is 4 MiB.
    pub max_bytes: u64,
}

impl Setting<'_> {
    /// Starts it; it ends with the answer.
    pub(crate) fn start(&self, endpoint: &Endpoint, dir: &Path) -> anyhow::Result<Running> {
        fs::create_dir_all(dir.join("datasets"))?;
        fs::create_dir_all(dir.join("credentials"))?;
        fs::write(dir.join("credentials/username"), "bench")?;
        fs::write(dir.join("credentials/password"), "")?;
        let relay = self.relay_config(&endpoint.address)?;
        fs::write(dir.join("relay.json"), serde_json::to_vec(&relay)?)?;
        fs::write(
            dir.join("datasets/orders.json"),
            serde_json::to_vec(&dataset(self.topic)?)?,
        )?;
        let child = Command::new(self.program)
            .arg("--config-dir")
            .arg(dir)
            .arg("--credentials-dir")
            .arg(dir.join("credentials"))
            .args(["--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "warn")
            .env(tributary_relay::budget::LIMIT_ENV, POD_LIMIT.to_string())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Running(child))
    }

    /// Reads the whole topic into the endpoint.
    pub(crate) fn catch_up(&self, endpoint: &Endpoint, events: u64) -> anyhow::Result<Measured> {
        let dir = tempfile::tempdir()?;
        endpoint.forget();
        let mut relay = self.start(endpoint, dir.path())?;
        relay.until(events, || Ok(endpoint.newest_offset() + 1 >= events as i64))
    }

    fn relay_config(&self, endpoint: &str) -> anyhow::Result<RelayConfig> {
        let run = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis();
        Ok(serde_json::from_value(json!({
            "formatVersion": 1,
            "pipeline": {"owner": "bench/bench/bench", "namespace": "bench", "name": "bench", "tenant": "acme"},
            "kafka": {
                "bootstrapServers": [self.kafka],
                "groupId": format!("bench.{}.{run}", self.topic),
                "groupInstanceId": "bench-0",
                "heartbeatTopic": "bench.heartbeat",
                "heartbeatIntervalMs": 5000,
            },
            "starrocks": {"httpEndpoints": [endpoint]},
            "batch": {"lingerMs": self.linger_ms, "maxBytes": self.max_bytes, "maxRows": 50000},
        }))?)
    }
}

/// Twelve columns: key, texts, numbers, a decimal, nested paths, moments.
pub(crate) fn dataset(topic: &str) -> anyhow::Result<DatasetConfig> {
    let column = |name: &str, ty: &str, path: &str| json!({"name": name, "type": ty, "source": {"path": path}, "onError": "Overflow", "nullable": true});
    let columns = json!([
        {"name": "order_id", "type": "VARCHAR(24)", "source": {"path": "_id"}, "bson": "ObjectId", "onError": "Overflow", "nullable": false},
        column("status", "VARCHAR(64)", "status"),
        column("channel", "VARCHAR(64)", "channel"),
        column("qty", "BIGINT", "qty"),
        column("total", "DECIMAL(38,2)", "total"),
        column("placed_at", "DATETIME", "placedAt"),
        column("customer_id", "BIGINT", "customer.id"),
        column("city", "VARCHAR(64)", "customer.city"),
        column("zip", "VARCHAR(16)", "customer.zip"),
        column("paid", "BOOLEAN", "paid"),
        column("note", "VARCHAR(256)", "note"),
        {"name": "event_at", "type": "DATETIME", "source": {"meta": "$source.ts"}, "onError": "Overflow", "nullable": true},
    ]);
    let dataset: DatasetConfig = serde_json::from_value(json!({
        "formatVersion": 1,
        "digest": "",
        "name": "orders",
        "tenant": "acme",
        "topic": {"name": topic, "partitions": 1, "generation": 1},
        "mappingGeneration": 1,
        "tables": [{"entry": "orders", "database": "bench", "table": "orders", "primaryKey": ["order_id"], "columns": columns}],
    }))?;
    Ok(dataset.sealed())
}
