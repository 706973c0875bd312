//! What the relay adds to an event beyond its linger: from the record's acknowledgement to the last byte of its load.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message as _};

use crate::discard::{Endpoint, now_ms};
use crate::events;
use crate::relay::Setting;

pub(crate) struct Added {
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// When each offset was acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<HashMap<i64, f64>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(message.offset(), now_ms());
        }
    }
}

/// `setting.topic` is empty at first; `rate` events a second, for each load the oldest event counts.
pub(crate) fn added(
    setting: &Setting<'_>,
    endpoint: &Endpoint,
    rate: u64,
    count: u64,
) -> anyhow::Result<Added> {
    const WARM_UP: u64 = 20;
    let dir = tempfile::tempdir()?;
    endpoint.forget();
    let mut relay = setting.start(endpoint, dir.path())?;
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", setting.kafka)
        .set("linger.ms", "0")
        .create_with_context(acknowledged.clone())?;
    for n in 0..count {
        // A key each: a batch keeps only the last row of a key, and the oldest is what is looked at.
        let (key, value) = (events::key(2 * n), events::value(2 * n));
        let record = BaseRecord::to(setting.topic).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        std::thread::sleep(Duration::from_secs(1) / rate.max(1) as u32);
    }
    producer.flush(Duration::from_secs(30))?;
    relay.until(count, || Ok(endpoint.newest_offset() + 1 >= count as i64))?;
    let acknowledged = acknowledged.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut added: Vec<f64> = endpoint
        .loads()
        .iter()
        .filter(|load| load.oldest_offset >= WARM_UP as i64 && load.newest_offset >= load.oldest_offset)
        .filter_map(|load| {
            Some(load.at_ms - acknowledged.get(&load.oldest_offset)? - setting.linger_ms as f64)
        })
        .collect();
    added.sort_by(f64::total_cmp);
    let at = |q: f64| {
        added
            .get(((added.len() as f64 - 1.0) * q).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    Ok(Added {
        samples: added.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    })
}
