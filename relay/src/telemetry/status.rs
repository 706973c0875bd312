//! `/status`, computed when asked for.

use std::sync::atomic::Ordering;

use tributary_crds::relay::{
    DatasetStatus, FORMAT_VERSION, LaneState, PartitionStatus, RelayPhase, RelayStatus, TableStatus,
    digest_of,
};

use crate::board::{Board, Dataset};
use crate::lane::{Lane, LaneSpec, UNASSIGNED, now_ms};

/// A lane that has retried one batch for this long is not merely slow.
const STALLED_MS: u64 = 60_000;
/// A reader that has not gone round for this long is stuck. Far above the longest wait inside its loop.
const STUCK_MS: u64 = 60_000;
/// A lane that has done nothing for this long hangs: every call it makes has a timeout, all of one attempt's together less.
const LANE_STUCK_MS: u64 = 300_000;

pub fn status(board: &Board) -> RelayStatus {
    RelayStatus {
        format_version: FORMAT_VERSION,
        phase: board.phase(),
        relay_digest: digest_of(&board.config),
        config_refused: board.config_refused(),
        config_digests: board
            .datasets
            .iter()
            .map(|d| (d.config.name.clone(), d.config.digest.clone()))
            .collect(),
        datasets: board.datasets.iter().map(|d| dataset(board, d)).collect(),
        kafka: board.reach.trouble(),
    }
}

fn dataset(board: &Board, dataset: &Dataset) -> DatasetStatus {
    let known = |value: i64| (value != UNASSIGNED).then_some(value);
    let partitions = dataset
        .slots()
        .map(|slot| &board.slots[slot.0])
        .filter(|slot| slot.assigned())
        .map(|slot| PartitionStatus {
            partition: slot.partition,
            position: slot.position.load(Ordering::Acquire),
            committed: known(slot.committed.load(Ordering::Acquire)),
            end: known(slot.end.load(Ordering::Acquire)),
        })
        .collect();
    let tables: Vec<TableStatus> = dataset
        .config
        .tables
        .iter()
        .filter_map(|config| {
            let lane = board
                .lanes
                .iter()
                .find(|l| l.spec.database == config.database && l.spec.table == config.table)?;
            let (overflowed, overflow_truncated) = lane.metrics.overflow();
            Some(TableStatus {
                entry: config.entry.clone(),
                database: config.database.clone(),
                table: config.table.clone(),
                lag_ms: lag_ms(board, lane),
                lane: lane.state(),
                linger_ms: lane.linger_ms(),
                rows_loaded: lane.metrics.rows_loaded(),
                parked: lane.metrics.dead_lettered(),
                loads: lane.metrics.loads(),
                overflowed,
                overflow_truncated,
            })
        })
        .collect();
    let lags: Option<Vec<u64>> = tables.iter().map(|t| t.lag_ms).collect();
    DatasetStatus {
        name: dataset.config.name.clone(),
        topic: dataset.config.topic.name.clone(),
        mapping_generation: dataset.config.mapping_generation,
        lag_ms: lags.and_then(|lags| lags.into_iter().max()),
        partitions,
        tables,
    }
}

/// 0 at the end of all partitions with a fresh heartbeat, else the age of the oldest change not yet in the table.
pub fn lag_ms(board: &Board, lane: &Lane) -> Option<u64> {
    let now = now_ms() as i64;
    let age = |ms: i64| u64::try_from(now - ms).unwrap_or(0);
    let (oldest, waiting) = lane.oldest_unloaded();
    if let Some(oldest) = oldest {
        return Some(age(oldest));
    }
    let slots: Vec<_> = lane
        .spec
        .slots
        .iter()
        .map(|s| &board.slots[s.0])
        .filter(|s| s.assigned())
        .collect();
    // Behind the end with nothing in hand: no younger than the newest event read, which is the best that is known.
    let behind = slots.iter().filter(|slot| !slot.at_end());
    let newest_read = behind
        .clone()
        .map(|slot| slot.newest_source_ms.load(Ordering::Acquire))
        .min();
    let blocked = matches!(lane.state(), LaneState::Blocked { .. });
    match newest_read {
        Some(0) => return None,
        Some(ms) => return Some(age(ms)),
        None if slots.is_empty() || waiting || blocked => return None,
        None => {}
    }
    match board.heartbeat_ms.load(Ordering::Acquire) {
        0 => None,
        heartbeat => {
            let age = age(heartbeat);
            let fresh = age < 3 * board.config.kafka.heartbeat_interval_ms.max(1);
            // Without a fresh heartbeat the end of the topic proves nothing about the source since.
            Some(if fresh { 0 } else { age })
        }
    }
}

/// Why the relay is not ready; empty: it is.
pub fn not_ready(board: &Board) -> Vec<String> {
    let mut why = Vec::new();
    if board.phase() != RelayPhase::Running {
        why.push(format!("phase {:?}", board.phase()));
    }
    if let Some(trouble) = board.reach.trouble() {
        why.push(format!("Kafka: {:?}: {}", trouble.cause, trouble.message));
    }
    for lane in &board.lanes {
        let table = format!("{}.{}", lane.spec.database, lane.spec.table);
        match lane.state() {
            LaneState::Blocked { cause, message, .. } => why.push(format!("{table}: {cause:?}: {message}")),
            LaneState::Retrying {
                cause,
                message,
                since_ms,
                ..
            } if now_ms() - since_ms.min(now_ms()) > STALLED_MS => {
                why.push(format!("{table}: stalled: {cause:?}: {message}"));
            }
            LaneState::Idle | LaneState::Loading { .. } | LaneState::Retrying { .. } => {}
        }
    }
    why
}

/// What makes no step although there is work: nothing but a restart helps.
pub fn standing_still(board: &Board) -> Vec<String> {
    let now = now_ms();
    let mut why = Vec::new();
    if now.saturating_sub(board.polled_ms.load(Ordering::Acquire)) >= STUCK_MS {
        why.push("the reader's loop stands still".to_owned());
    }
    for lane in &board.lanes {
        let idle = lane.idle_with_work_ms(now);
        if idle >= LANE_STUCK_MS {
            let LaneSpec { database, table, .. } = &lane.spec;
            why.push(format!(
                "{database}.{table}: its lane has made no step for {} s although there is work",
                idle / 1000
            ));
        }
    }
    why
}

/// Copies into gauges what is computed rather than counted.
pub fn refresh_gauges(board: &Board) {
    use crate::telemetry::metrics::{PartitionLabels, TableLabels};
    let metrics = &board.metrics;
    for dataset in &board.datasets {
        for slot in dataset
            .slots()
            .map(|slot| &board.slots[slot.0])
            .filter(|slot| slot.assigned())
        {
            let labels = PartitionLabels {
                topic: dataset.config.topic.name.clone(),
                partition: slot.partition,
            };
            metrics
                .position
                .get_or_create(&labels)
                .set(slot.position.load(Ordering::Acquire));
            metrics
                .committed
                .get_or_create(&labels)
                .set(slot.committed.load(Ordering::Acquire));
            metrics
                .end
                .get_or_create(&labels)
                .set(slot.end.load(Ordering::Acquire));
        }
    }
    for lane in &board.lanes {
        let labels = TableLabels {
            database: lane.spec.database.clone(),
            table: lane.spec.table.clone(),
        };
        let blocked = matches!(lane.state(), LaneState::Blocked { .. });
        metrics.blocked.get_or_create(&labels).set(i64::from(blocked));
        metrics
            .linger
            .get_or_create(&labels)
            .set(lane.linger_ms() as f64 / 1000.0);
        let stuck = lane.idle_with_work_ms(now_ms()) >= LANE_STUCK_MS;
        metrics.stalled.get_or_create(&labels).set(i64::from(stuck));
        if let Some(ms) = lag_ms(board, lane) {
            metrics.lag.get_or_create(&labels).set(ms as f64 / 1000.0);
        }
    }
    metrics
        .buffered
        .set(board.buffered.load(Ordering::Relaxed) as i64);
}

#[cfg(test)]
mod tests {
    use tributary_crds::relay::{
        BatchConfig, DatasetConfig, KafkaConfig, PipelineIdentity, RelayConfig, StarRocksConfig, TopicConfig,
    };

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_reader_that_stands_still_is_no_longer_alive() {
        let relay = RelayConfig {
            format_version: FORMAT_VERSION,
            pipeline: PipelineIdentity {
                owner: "prod/shop/acme".into(),
                namespace: "shop".into(),
                name: "acme".into(),
                tenant: "acme".into(),
            },
            kafka: KafkaConfig {
                bootstrap_servers: vec!["kafka:9092".into()],
                group_id: "g".into(),
                group_instance_id: "g-0".into(),
                heartbeat_topic: "h".into(),
                heartbeat_interval_ms: 5_000,
                dead_letter_topic: None,
                security: None,
            },
            starrocks: StarRocksConfig {
                http_endpoints: vec!["http://fe:8030".into()],
                mysql_endpoints: Vec::new(),
                tls: None,
            },
            batch: BatchConfig {
                linger_ms: 50,
                max_bytes: 1 << 20,
                max_rows: 100,
            },
        };
        let dataset = DatasetConfig {
            format_version: FORMAT_VERSION,
            digest: String::new(),
            name: "orders".into(),
            tenant: "acme".into(),
            topic: TopicConfig {
                name: "t".into(),
                partitions: 1,
                generation: 1,
            },
            mapping_generation: 1,
            tables: Vec::new(),
        };
        let config = Config {
            access: Default::default(),
            relay,
            datasets: vec![dataset.sealed()],
        };
        let board = config.board(crate::telemetry::metrics::Metrics::default());
        assert_eq!(standing_still(&board), Vec::<String>::new());
        board.polled_ms.store(now_ms() - STUCK_MS, Ordering::Release);
        assert_eq!(standing_still(&board), ["the reader's loop stands still"]);
    }
}
