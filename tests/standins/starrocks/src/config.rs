//! FE's mutable configuration, by StarRocks' own names: `ADMIN SET FRONTEND CONFIG` and the admin API change it.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Labels remembered per database, whatever their age (stream-load-and-relay.md §1.6).
    LabelKeepMaxNum,
    LabelKeepMaxSecond,
    /// How often old labels are evicted.
    TransactionCleanIntervalSecond,
    MaxRunningTxnNumPerDb,
    /// One step of every ALTER job per tick (starrocks-ddl-and-schema-evolution.md §1.5). 0 is the stand-in's own: only
    /// the admin API ticks.
    AlterSchedulerIntervalMillisecond,
    AlterTableTimeoutSecond,
    PreparedTransactionDefaultTimeoutSecond,
}

/// Key, name, the server's default.
const KEYS: [(Key, &str, u64); 7] = [
    (Key::LabelKeepMaxNum, "label_keep_max_num", 1000),
    (Key::LabelKeepMaxSecond, "label_keep_max_second", 3 * 86_400),
    (
        Key::TransactionCleanIntervalSecond,
        "transaction_clean_interval_second",
        30,
    ),
    (Key::MaxRunningTxnNumPerDb, "max_running_txn_num_per_db", 1000),
    (
        Key::AlterSchedulerIntervalMillisecond,
        "alter_scheduler_interval_millisecond",
        10_000,
    ),
    (Key::AlterTableTimeoutSecond, "alter_table_timeout_second", 86_400),
    (
        Key::PreparedTransactionDefaultTimeoutSecond,
        "prepared_transaction_default_timeout_second",
        86_400,
    ),
];

#[derive(Debug)]
pub struct FrontendConfig {
    values: [AtomicU64; KEYS.len()],
    changed: tokio::sync::Notify,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            values: KEYS.map(|(_, _, value)| AtomicU64::new(value)),
            changed: tokio::sync::Notify::new(),
        }
    }
}

impl FrontendConfig {
    pub fn get(&self, key: Key) -> u64 {
        self.values[key as usize].load(Ordering::Relaxed)
    }

    pub fn set(&self, key: Key, value: u64) {
        self.values[key as usize].store(value, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub fn set_by_name(&self, name: &str, value: &str) -> Result<(), String> {
        let key = KEYS.iter().find(|(_, n, _)| *n == name).map(|(key, ..)| *key);
        // Error 5102 of FE.
        let key = key.ok_or_else(|| format!("Config '{name}' does not exist or is not mutable"))?;
        let value = value
            .trim()
            .parse()
            .map_err(|_| format!("Set config failed: {name} = {value}"))?;
        self.set(key, value);
        Ok(())
    }

    /// Names and values, for ADMIN SHOW FRONTEND CONFIG.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        KEYS.iter()
            .map(|(key, name, _)| (*name, self.get(*key)))
            .collect()
    }

    /// Sleeps for a period that is configured, starting anew when the configuration changes; 0 sleeps until then.
    pub async fn period(&self, millis: impl Fn(&Self) -> u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let sleep = match millis(self) {
                0 => std::time::Duration::MAX,
                n => std::time::Duration::from_millis(n),
            };
            if tokio::time::timeout(sleep, changed).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_own_place() {
        let config = FrontendConfig::default();
        for (i, (key, name, value)) in KEYS.into_iter().enumerate() {
            assert_eq!(key as usize, i, "{name}");
            assert_eq!(config.get(key), value, "{name}");
        }
        config.set_by_name("label_keep_max_num", "7").unwrap();
        assert_eq!(config.get(Key::LabelKeepMaxNum), 7);
        assert!(config.set_by_name("nope", "1").is_err());
    }
}
