//! Versions of a tablet and the compaction that merges them away.

use std::time::Instant;

/// Every load adds a version to each tablet it touches; compaction removes `rate` per second. The count is a leaky
/// bucket computed when asked, so no background task is needed.
#[derive(Debug)]
pub struct Versions {
    count: f64,
    counted_at: Instant,
    rate: f64,
    limit: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            count: 1.0,
            counted_at: Instant::now(),
            rate: DEFAULT_COMPACTION_RATE,
            limit: TABLET_MAX_VERSIONS,
        }
    }
}

/// `tablet_max_versions` of the BE.
pub const TABLET_MAX_VERSIONS: u32 = 1000;
/// Versions merged away per second and tablet. Cumulative compaction of a small tablet keeps up with some tens of
/// loads a second; a relay that floods the table outruns it.
pub const DEFAULT_COMPACTION_RATE: f64 = 20.0;

impl Versions {
    fn settle(&mut self, now: Instant) {
        let merged = now.duration_since(self.counted_at).as_secs_f64() * self.rate;
        self.count = (self.count - merged).max(1.0);
        self.counted_at = now;
    }

    pub fn count(&mut self) -> u32 {
        self.settle(Instant::now());
        self.count.ceil() as u32
    }

    pub fn add(&mut self) {
        self.settle(Instant::now());
        self.count += 1.0;
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn set_compaction(&mut self, rate: f64, limit: u32) {
        self.settle(Instant::now());
        self.rate = rate;
        self.limit = limit;
    }

    /// The text of delta_writer.cpp when the tablet is over its limit.
    pub fn check(&mut self, tablet_id: i64) -> Result<(), String> {
        let (current, limit) = (self.count(), self.limit);
        if current <= limit {
            Ok(())
        } else {
            Err(too_many_versions(tablet_id, current, limit))
        }
    }
}

pub fn too_many_versions(tablet_id: i64, current: u32, limit: u32) -> String {
    format!(
        "Failed to load data into tablet {tablet_id}, because of too many versions, current/limit: {current}/{limit}. \
         You can reduce the loading job concurrency, or increase loading data batch size. If you are loading data with \
         Routine Load, you can increase FE configs routine_load_task_consume_second and max_routine_load_batch_size,: \
         be:127.0.0.1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_outruns_compaction_and_idling_heals() {
        let mut versions = Versions::default();
        versions.set_compaction(0.0, 10);
        for _ in 0..10 {
            versions.add();
        }
        assert!(versions.check(7).unwrap_err().contains("current/limit: 11/10"));
        versions.set_compaction(1e9, 10);
        versions.counted_at -= std::time::Duration::from_secs(1);
        assert!(versions.check(7).is_ok());
    }
}
