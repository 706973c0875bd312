//! The relay's own work on one core without Kafka and StarRocks: where an event's nanoseconds go. A tool for profiling
//! (`perf record … tributary-bench hot`), not a figure to report.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use tributary_crds::relay::pack_ver;
use tributary_relay::envelope;
use tributary_relay::lane::batch::{BatchBuilder, Origin, RowTimes};
use tributary_relay::lane::ranges::Slot;
use tributary_relay::shape::{Event, Mapping, Scratch};

use crate::{events, relay};

/// Rows of a batch; the relay's default closes one about there.
const BATCH: usize = 10_000;

pub(crate) fn run(count: u64, rounds: usize) -> anyhow::Result<()> {
    let records: Vec<(String, String)> = (0..count.min(200_000))
        .map(|n| (events::key(n), events::value(n)))
        .collect();
    let dataset = relay::dataset("bench")?;
    let mapping = Mapping::compile(&dataset, &dataset.tables[0])?;
    let (mut key, mut reader, mut scratch) = (Vec::new(), envelope::Reader::default(), Scratch::default());
    for round in 1..=rounds {
        let began = cpu();
        for (k, _) in &records {
            envelope::document_key(Some(k.as_bytes()), &mut key)?;
            black_box(&key);
        }
        let keys = cpu() - began;
        let began = cpu();
        for (_, v) in &records {
            black_box(reader.read(v.as_bytes())?);
        }
        let envelopes = cpu() - began;
        let mut batch = BatchBuilder::default();
        let mut bytes = 0;
        let began = cpu();
        for (n, (k, v)) in records.iter().enumerate() {
            envelope::document_key(Some(k.as_bytes()), &mut key)?;
            let read = reader.read(v.as_bytes())?;
            let event = Event {
                tenant: "acme",
                dataset: "orders",
                key: &key,
                op: read.op,
                change: read.change,
                document: read.document,
                source_ts_ms: read.source_ts_ms,
                topic: "bench",
                partition: 0,
                offset: n as i64,
                ver: pack_ver(1, n as i64, 1),
            };
            let origin = Origin {
                slot: Slot(0),
                offset: 0,
            };
            batch.push(origin, RowTimes::default(), |out| {
                Ok::<_, Infallible>(
                    mapping
                        .shape(&event, &mut scratch, out)
                        .map_or(0, |shaped| shaped.key_len),
                )
            })?;
            batch.advance(Slot(0), n as i64, n as i64 + 1)?;
            if batch.rows() == BATCH {
                bytes += std::mem::take(&mut batch).close().body.len();
            }
        }
        let all = cpu() - began;
        let each = |elapsed: Duration| elapsed.as_nanos() as f64 / records.len() as f64;
        println!(
            "round {round}: key {:.0} ns, envelope {:.0} ns, all with shape and batch {:.0} ns per event ({} bytes of rows)",
            each(keys),
            each(envelopes),
            each(all),
            bytes
        );
    }
    Ok(())
}

/// CPU time of this thread: other load on the machine does not count.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
