//! The log of everything that changed: the clock that orders it, the window that bounds it, the readers it wakes.
//!
//! Entries are appended while the store's write lock is held, so their order is the order of the writes.

pub mod journal;
pub mod token;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bson::{DateTime, RawBson, Timestamp};
use tokio::sync::watch;

use self::journal::{Journal, Record};
use crate::store::{Doc, update::Description};

#[derive(Debug)]
pub struct Entry {
    pub at: Timestamp,
    pub wall: DateTime,
    pub db: Arc<str>,
    pub collection: Arc<str>,
    pub uuid: [u8; 16],
    pub change: Change,
}

#[derive(Debug)]
pub enum Change {
    Insert {
        id: RawBson,
        document: Doc,
    },
    Update {
        id: RawBson,
        description: Description,
        images: Option<Images>,
    },
    Replace {
        id: RawBson,
        document: Doc,
        images: Option<Images>,
    },
    Delete {
        id: RawBson,
        before: Option<Doc>,
    },
    DropCollection,
    DropDatabase,
}

/// The document before and after, kept only for collections with `changeStreamPreAndPostImages`.
#[derive(Debug)]
pub struct Images {
    pub before: Doc,
    pub after: Doc,
}

impl Entry {
    pub fn id(&self) -> Option<&RawBson> {
        match &self.change {
            Change::Insert { id, .. }
            | Change::Update { id, .. }
            | Change::Replace { id, .. }
            | Change::Delete { id, .. } => Some(id),
            Change::DropCollection | Change::DropDatabase => None,
        }
    }

    pub fn operation(&self) -> &'static str {
        match self.change {
            Change::Insert { .. } => "insert",
            Change::Update { .. } => "update",
            Change::Replace { .. } => "replace",
            Change::Delete { .. } => "delete",
            Change::DropCollection => "drop",
            Change::DropDatabase => "dropDatabase",
        }
    }

    /// Roughly what the entry keeps alive; documents shared with the store are counted too, since they outlive it there.
    fn weight(&self) -> usize {
        const FIXED: usize = 256;
        let images = |i: &Option<Images>| {
            i.as_ref()
                .map_or(0, |i| i.before.as_bytes().len() + i.after.as_bytes().len())
        };
        FIXED
            + match &self.change {
                Change::Insert { document, .. } => document.as_bytes().len(),
                Change::Update {
                    description,
                    images: i,
                    ..
                } => 64 * description.updated.len() + images(i),
                Change::Replace {
                    document, images: i, ..
                } => document.as_bytes().len() + images(i),
                Change::Delete { before, .. } => before.as_ref().map_or(0, |d| d.as_bytes().len()),
                Change::DropCollection | Change::DropDatabase => 0,
            }
    }
}

/// How much history is kept.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub entries: usize,
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 512 << 20,
        }
    }
}

/// A reader asked for a time that is no longer in the window.
#[derive(Debug, PartialEq, Eq)]
pub struct HistoryLost {
    pub asked: Timestamp,
    pub lost_through: Timestamp,
}

pub struct Oplog {
    log: Mutex<Log>,
    published: watch::Sender<u64>,
    window: Window,
}

struct Log {
    clock: Timestamp,
    entries: VecDeque<Arc<Entry>>,
    first: u64,
    bytes: usize,
    /// Everything up to and including this time is gone. A fresh log has lost all that was before it, so the token of
    /// an earlier life is refused rather than silently resumed.
    lost_through: Timestamp,
    /// Where everything is written down, in the persistent mode.
    journal: Option<Journal>,
}

#[derive(Debug, serde::Serialize)]
pub struct Extent {
    pub entries: usize,
    pub bytes: usize,
    pub lost_through_seconds: u32,
    pub now_seconds: u32,
}

impl Oplog {
    pub fn new(window: Window) -> Self {
        let start = Timestamp {
            time: wall_seconds(),
            increment: 1,
        };
        let log = Log {
            clock: start,
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            lost_through: Timestamp {
                time: start.time,
                increment: 0,
            },
            journal: None,
        };
        Self {
            log: Mutex::new(log),
            published: watch::Sender::new(0),
            window,
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `after` is the document that an update led to, which the entry itself does not hold.
    pub fn append(
        &self,
        db: &Arc<str>,
        collection: &Arc<str>,
        uuid: [u8; 16],
        change: Change,
        after: Option<&Doc>,
    ) -> Timestamp {
        let mut log = self.log();
        let at = log.tick();
        let entry = Entry {
            at,
            wall: DateTime::now(),
            db: db.clone(),
            collection: collection.clone(),
            uuid,
            change,
        };
        if let Some(journal) = &mut log.journal {
            journal.write(&journal::encode_entry("entry", &entry, after));
        }
        log.push(entry, self.window);
        at
    }

    /// Writes down what is no entry; nothing without a journal.
    pub fn note(&self, record: impl FnOnce() -> Record) {
        if let Some(journal) = &mut self.log().journal {
            journal.write(&record().encode());
        }
    }

    /// An entry of an earlier life, as its journal tells it.
    pub fn restore(&self, entry: Entry) {
        let mut log = self.log();
        log.clock = log.clock.max(entry.at);
        log.push(entry, self.window);
    }

    /// History that an earlier life had lost; the first word of a journal, or a later truncation.
    pub fn restore_loss(&self, lost_through: Timestamp, first: bool) {
        let mut log = self.log();
        log.clock = log.clock.max(lost_through);
        while log.entries.front().is_some_and(|entry| entry.at <= lost_through) {
            log.evict();
        }
        log.lost_through = if first {
            lost_through
        } else {
            log.lost_through.max(lost_through)
        };
    }

    /// From now on everything is written down. The journal is made to say what is: `state`, then the history.
    pub fn attach(
        &self,
        unopened: journal::Unopened,
        state: impl Iterator<Item = Record>,
    ) -> anyhow::Result<()> {
        let mut log = self.log();
        let start = Record::Start {
            lost_through: log.lost_through,
        };
        let history = log
            .entries
            .iter()
            .map(|entry| journal::encode_entry("past", entry, None));
        let records = std::iter::once(start).chain(state).map(|record| record.encode());
        let journal = unopened.rewrite(records.chain(history))?;
        log.journal = Some(journal);
        Ok(())
    }

    /// Wakes the readers. Called once per command, so that a batch of a thousand inserts wakes them once.
    pub fn publish(&self) {
        let end = self.log().end();
        self.published
            .send_if_modified(|seen| std::mem::replace(seen, end) != end);
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// The cluster time: never behind the wall clock's second, never behind the last write.
    pub fn now(&self) -> Timestamp {
        self.log().now()
    }

    /// A time that everything written so far lies before and nothing written later does.
    pub fn high_water(&self) -> Timestamp {
        let mut log = self.log();
        log.now();
        log.next()
    }

    /// Where a reader of everything at or after `from` starts.
    pub fn seek(&self, from: Timestamp) -> Result<u64, HistoryLost> {
        let log = self.log();
        if from <= log.lost_through {
            return Err(HistoryLost {
                asked: from,
                lost_through: log.lost_through,
            });
        }
        Ok(log.first + log.entries.partition_point(|e| e.at < from) as u64)
    }

    /// The entry at exactly this time, with the position after it.
    pub fn find(&self, at: Timestamp) -> Result<Option<(Arc<Entry>, u64)>, HistoryLost> {
        let start = self.seek(at)?;
        let log = self.log();
        let entry = start
            .checked_sub(log.first)
            .and_then(|i| log.entries.get(usize::try_from(i).ok()?));
        Ok(entry.filter(|e| e.at == at).map(|e| (e.clone(), start + 1)))
    }

    /// Up to `limit` entries from a position on. The high-water mark is taken under the same lock: when the answer is
    /// empty, nothing before it has been missed.
    pub fn read(&self, from: u64, limit: usize) -> Result<(Vec<Arc<Entry>>, Timestamp), HistoryLost> {
        let mut log = self.log();
        let Some(skip) = from.checked_sub(log.first) else {
            return Err(HistoryLost {
                asked: log.lost_through,
                lost_through: log.lost_through,
            });
        };
        log.now();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(log.entries.len());
        Ok((
            log.entries.range(skip..).take(limit).cloned().collect(),
            log.next(),
        ))
    }

    pub fn end(&self) -> u64 {
        self.log().end()
    }

    /// Forgets all but the newest entries, as an oplog that rolled over does. `readers`: streams that run have fallen
    /// behind as well.
    pub fn truncate(&self, keep: usize, readers: bool) -> usize {
        let mut log = self.log();
        let dropped = log.entries.len().saturating_sub(keep);
        for _ in 0..dropped {
            log.evict();
        }
        if log.entries.is_empty() {
            // Idle tokens lie ahead of the last entry; they are lost as well.
            log.lost_through = log.tick();
            // A position that nobody can hold any more.
            log.first += u64::from(readers);
        }
        let lost_through = log.lost_through;
        if let Some(journal) = &mut log.journal {
            journal.write(&Record::Truncated { lost_through }.encode());
        }
        dropped
    }

    pub fn extent(&self) -> Extent {
        let log = self.log();
        Extent {
            entries: log.entries.len(),
            bytes: log.bytes,
            lost_through_seconds: log.lost_through.time,
            now_seconds: log.clock.time,
        }
    }
}

impl Log {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn now(&mut self) -> Timestamp {
        let wall = wall_seconds();
        if wall > self.clock.time {
            self.clock = Timestamp {
                time: wall,
                increment: 1,
            };
        }
        self.clock
    }

    fn next(&self) -> Timestamp {
        match self.clock.increment.checked_add(1) {
            Some(increment) => Timestamp {
                time: self.clock.time,
                increment,
            },
            None => Timestamp {
                time: self.clock.time + 1,
                increment: 1,
            },
        }
    }

    fn tick(&mut self) -> Timestamp {
        self.now();
        self.clock = self.next();
        self.clock
    }

    fn push(&mut self, entry: Entry, window: Window) {
        self.bytes += entry.weight();
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > window.entries || self.bytes > window.bytes {
            self.evict();
        }
    }

    fn evict(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            self.bytes -= entry.weight();
            self.lost_through = entry.at;
        }
    }
}

fn wall_seconds() -> u32 {
    u32::try_from(DateTime::now().timestamp_millis() / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;

    fn insert(log: &Oplog, n: i32) -> Timestamp {
        let document = Doc::new(rawdoc! { "_id": n });
        log.append(
            &"t".into(),
            &"c".into(),
            [0; 16],
            Change::Insert {
                id: RawBson::Int32(n),
                document,
            },
            None,
        )
    }

    #[test]
    fn a_high_water_mark_parts_past_from_future() {
        let log = Oplog::new(Window::default());
        let before = insert(&log, 1);
        let mark = log.high_water();
        let after = insert(&log, 2);
        assert!(before < mark && mark <= after);
        let start = log.seek(mark).unwrap();
        assert_eq!(
            log.read(start, 10)
                .unwrap()
                .0
                .iter()
                .map(|e| e.at)
                .collect::<Vec<_>>(),
            [after]
        );
    }

    #[test]
    fn the_window_is_bounded_and_says_what_it_lost() {
        let log = Oplog::new(Window {
            entries: 3,
            bytes: usize::MAX,
        });
        let times: Vec<_> = (0..5).map(|n| insert(&log, n)).collect();
        assert_eq!(log.extent().entries, 3);
        assert!(log.seek(times[1]).is_err() && log.find(times[1]).is_err());
        assert_eq!(log.seek(times[2]), Ok(2));
        assert!(log.read(0, 10).is_err(), "a reader that fell behind is told");
        assert!(
            log.seek(Timestamp {
                time: times[0].time - 60,
                increment: 1
            })
            .is_err(),
            "a token of an earlier life is refused"
        );
    }

    #[test]
    fn truncating_loses_idle_tokens_too_but_not_new_ones() {
        let log = Oplog::new(Window::default());
        insert(&log, 1);
        let idle = log.high_water();
        assert_eq!(log.truncate(0, false), 1);
        assert!(log.seek(idle).is_err());
        let fresh = log.high_water();
        assert!(log.seek(fresh).is_ok());
    }

    #[test]
    fn truncating_a_prefix_keeps_the_rest_and_spares_running_readers_unless_told() {
        let log = Oplog::new(Window::default());
        let times: Vec<_> = (0..3).map(|n| insert(&log, n)).collect();
        assert_eq!(log.truncate(1, false), 2);
        assert!(log.seek(times[1]).is_err() && log.seek(times[2]).is_ok());
        let end = log.end();
        log.truncate(0, false);
        assert!(log.read(end, 1).is_ok());
        log.truncate(0, true);
        assert!(log.read(end, 1).is_err() && log.read(log.end(), 1).is_ok());
    }

    #[tokio::test]
    async fn readers_wake_once_per_publication() {
        let log = Oplog::new(Window::default());
        let mut reader = log.subscribe();
        insert(&log, 1);
        insert(&log, 2);
        log.publish();
        reader.changed().await.unwrap();
        log.publish();
        assert!(!reader.has_changed().unwrap());
    }

    proptest! {
        #[test]
        fn times_are_strictly_monotone_and_tokens_sort_as_they_do(ids in prop::collection::vec(any::<i32>(), 2..50)) {
            let log = Oplog::new(Window::default());
            let mut tokens = Vec::new();
            for id in ids {
                tokens.push(token::high_water(log.high_water()));
                let at = insert(&log, id);
                let (entry, _) = log.find(at).unwrap().unwrap();
                tokens.push(token::event(&entry, false));
            }
            prop_assert!(tokens.windows(2).all(|w| w[0] < w[1]), "{tokens:?}");
        }
    }
}
