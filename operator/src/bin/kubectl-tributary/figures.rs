//! Live figures, which no status holds: the relay is asked, twice when it is behind, so that the rate shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{GetParams, Request};
use kube::{Client, ResourceExt};
use serde::Serialize;
use tributary_crds::relay::{DatasetStatus, FORMAT_VERSION, LaneState, RelayStatus, TableStatus};
use tributary_operator::pipeline::observe::{RelayAnswer, held_port, together};
use tributary_operator::pipeline::port::POD_PORT;

use crate::fetch::{Relay, within};

/// Between two looks at a relay that is behind.
const APART: Duration = Duration::from_secs(1);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// One dataset on its way from Kafka into its tables.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flow {
    pub(crate) dataset: String,
    /// Events that are in Kafka and not in every table.
    pub(crate) behind: u64,
    /// Events per second by which that shrinks; negative while it grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) draining: Option<f64>,
    pub(crate) tables: Vec<TableStatus>,
}

/// What the relays say, or why they could not be asked from here.
pub(crate) async fn flows(client: &Client, relay: &Relay) -> Result<Vec<Flow>, String> {
    let began = Instant::now();
    let first = ask(client, relay).await?;
    if first.datasets.iter().all(|d| behind(d) == 0) {
        return Ok(flow(&first, None));
    }
    tokio::time::sleep(APART.saturating_sub(began.elapsed())).await;
    let second = ask(client, relay).await?;
    Ok(flow(&second, Some((&first, began.elapsed()))))
}

fn flow(now: &RelayStatus, before: Option<(&RelayStatus, Duration)>) -> Vec<Flow> {
    let rate = |dataset: &DatasetStatus| {
        let (earlier, apart) = before?;
        let earlier = earlier.datasets.iter().find(|d| d.name == dataset.name)?;
        Some((behind(earlier) as f64 - behind(dataset) as f64) / apart.as_secs_f64())
    };
    now.datasets
        .iter()
        .map(|dataset| Flow {
            dataset: dataset.name.clone(),
            behind: behind(dataset),
            draining: rate(dataset),
            tables: dataset.tables.clone(),
        })
        .collect()
}

fn behind(dataset: &DatasetStatus) -> u64 {
    let partitions = dataset.partitions.iter();
    partitions
        .filter_map(|p| u64::try_from(p.end? - p.committed.unwrap_or(p.position)).ok())
        .sum()
}

/// What all relays of the pipeline say together.
async fn ask(client: &Client, relay: &Relay) -> Result<RelayStatus, String> {
    let mut answers = BTreeMap::new();
    for (ordinal, deployment) in (0..).zip(&relay.deployments) {
        let status = ask_one(client, relay, deployment).await?;
        answers.insert(ordinal, RelayAnswer::Status(Box::new(status)));
    }
    match together(&answers) {
        RelayAnswer::Status(status) => Ok(*status),
        RelayAnswer::Unreachable(why) => Err(why),
        RelayAnswer::NoPod => Err("there is no relay".to_owned()),
    }
}

async fn ask_one(client: &Client, relay: &Relay, deployment: &Deployment) -> Result<RelayStatus, String> {
    let status = match held_port(deployment) {
        Some(port) => on_loopback(port).await?,
        None => through_api_server(client, relay, &deployment.name_any()).await?,
    };
    match status.format_version {
        FORMAT_VERSION => Ok(status),
        other => Err(format!(
            "the relay speaks format {other}, this program {FORMAT_VERSION}"
        )),
    }
}

/// A relay in its node's network listens on the node's loopback only.
async fn on_loopback(port: u16) -> Result<RelayStatus, String> {
    let client = reqwest::Client::builder()
        .timeout(HTTP_TIMEOUT)
        .no_proxy()
        .build();
    let url = format!("http://127.0.0.1:{port}/status");
    let answer = client.map_err(|e| e.to_string())?.get(url).send().await;
    let why =
        |_| format!("the relay listens on its node's loopback, port {port}, which is not this machine's");
    answer
        .map_err(why)?
        .json()
        .await
        .map_err(|e| e.without_url().to_string())
}

async fn through_api_server(client: &Client, relay: &Relay, deployment: &str) -> Result<RelayStatus, String> {
    let pod = relay
        .pods
        .iter()
        .filter(|p| p.name_any().starts_with(&format!("{deployment}-")))
        .find(|p| p.metadata.deletion_timestamp.is_none())
        .ok_or("the relay has no pod")?;
    let namespace = pod.namespace().unwrap_or_default();
    let proxy = format!(
        "/api/v1/namespaces/{namespace}/pods/{}:{POD_PORT}/proxy",
        pod.name_any()
    );
    let request = Request::new(proxy)
        .get("status", &GetParams::default())
        .map_err(|e| e.to_string())?;
    within(client.request(request)).await
}

/// One line per table, and what its lane is doing where that is worth a word.
pub(crate) fn text(flows: &Result<Vec<Flow>, String>, now_ms: u64) -> String {
    let flows = match flows {
        Ok(flows) => flows,
        Err(why) => return format!("live figures: not from here: {why}\n"),
    };
    let width = flows.iter().map(|f| f.dataset.len()).max().unwrap_or_default();
    let mut out = "live\n".to_owned();
    for flow in flows {
        for table in &flow.tables {
            let lag = table.lag_ms.map_or_else(|| "not measured".to_owned(), ago);
            let _ = writeln!(
                out,
                "  {:width$}  kafka ─ {lag} ─ {}.{}{}",
                flow.dataset,
                table.database,
                table.table,
                backlog(flow)
            );
            if let Some(note) = note(&table.lane, now_ms) {
                let _ = writeln!(out, "  {:width$}  └ {note}", "");
            }
        }
    }
    out
}

fn backlog(flow: &Flow) -> String {
    match (flow.behind, flow.draining) {
        (0, _) => String::new(),
        (n, Some(rate)) if rate > 0.5 => format!(
            "   {} events behind, draining {}/s, ETA {}",
            short(n as f64),
            short(rate),
            ago((n as f64 / rate * 1000.0) as u64)
        ),
        (n, Some(rate)) if rate < -0.5 => {
            format!("   {} events behind, growing {}/s", short(n as f64), short(-rate))
        }
        (n, _) => format!("   {} events behind", short(n as f64)),
    }
}

fn note(lane: &LaneState, now_ms: u64) -> Option<String> {
    match lane {
        LaneState::Retrying {
            cause,
            message,
            attempts,
            since_ms,
            ..
        } => Some(format!(
            "StarRocks: {cause:?}, {attempts} attempts in {}: {message}",
            ago(now_ms.saturating_sub(*since_ms))
        )),
        LaneState::Blocked {
            cause,
            message,
            since_ms,
            ..
        } => Some(format!(
            "blocked for {}: {cause:?}: {message}",
            ago(now_ms.saturating_sub(*since_ms))
        )),
        _ => None,
    }
}

/// `0.2s`, `45s`, `4m12s`, `3h05m`.
fn ago(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{:.1}s", ms as f64 / 1000.0),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `950`, `9.4k`, `1.24M`.
fn short(n: f64) -> String {
    match n {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n => format!("{:.2}M", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(committed: i64, end: i64) -> RelayStatus {
        serde_json::from_value(json!({
            "formatVersion": FORMAT_VERSION, "phase": "Running", "configDigests": {},
            "datasets": [{"name": "orders", "topic": "t", "mappingGeneration": 1, "lagMs": 252_000,
                "partitions": [{"partition": 0, "position": end, "committed": committed, "end": end}],
                "tables": [{"entry": "orders", "database": "d", "table": "orders", "lagMs": 252_000,
                    "lane": {"state": "Idle"}, "rowsLoaded": 1, "loads": 1, "overflowed": 0, "overflowTruncated": 0}]}],
        }))
        .expect("a status")
    }

    #[test]
    fn a_backlog_shows_its_size_its_rate_and_when_it_ends() {
        let (before, now) = (status(0, 1_250_000), status(9_400, 1_250_000));
        let flows = Ok(flow(&now, Some((&before, Duration::from_secs(1)))));
        assert_eq!(
            text(&flows, 0),
            "live\n  orders  kafka ─ 4m12s ─ d.orders   1.24M events behind, draining 9.4k/s, ETA 2m11s\n"
        );
        let growing = Ok(flow(
            &status(0, 2_000),
            Some((&status(0, 1_000), Duration::from_secs(1))),
        ));
        assert!(
            text(&growing, 0).contains("2.0k events behind, growing 1.0k/s"),
            "{}",
            text(&growing, 0)
        );
        let level = Ok(flow(&status(5, 5), None));
        assert_eq!(text(&level, 0), "live\n  orders  kafka ─ 4m12s ─ d.orders\n");
        assert!(text(&Err("no".to_owned()), 0).contains("not from here: no"));
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            [ago(200), ago(45_000), ago(252_000), ago(11_100_000)],
            ["0.2s", "45s", "4m12s", "3h05m"]
        );
        assert_eq!(
            [short(950.0), short(9_400.0), short(1_240_600.0)],
            ["950", "9.4k", "1.24M"]
        );
    }
}
