//! Cursors: open ones, the next batch of one, and their end.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, raw::cstr, rawdoc};
use tokio::sync::Notify;

use super::Context;
use crate::{
    changestream::{ChangeStream, Limits, MAX_BATCH_BYTES},
    error::{Code, CommandError, Result},
    store::{Doc, expr::as_i64, projection::Projection},
};

pub(super) const FIRST_BATCH: usize = 101;
const DEFAULT_AWAIT: Duration = Duration::from_secs(1);
/// MongoDB's own limit for a cursor nobody asks.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

pub(crate) struct Cursor {
    pub(crate) session: Option<Vec<u8>>,
    ns: String,
    kind: Kind,
    /// Set when the cursor is killed: what a waiting `getMore` answers.
    killed: OnceLock<CommandError>,
    on_kill: Notify,
    last_used: Mutex<Instant>,
}

enum Kind {
    /// What is left of a snapshot.
    Documents(Mutex<Documents>),
    /// Held while a `getMore` waits, hence the asynchronous lock.
    Stream(tokio::sync::Mutex<Box<ChangeStream>>),
}

pub(super) struct Documents {
    pub(super) rest: VecDeque<Doc>,
    pub(super) projection: Option<Projection>,
}

impl Documents {
    /// The next batch: at most `limit` documents and one reply's worth of bytes.
    pub(super) fn batch(&mut self, limit: usize) -> RawArrayBuf {
        let mut batch = RawArrayBuf::new();
        let mut bytes = 0;
        for taken in 0..limit {
            let Some(doc) = self.rest.front() else { break };
            bytes += doc.as_bytes().len();
            if bytes > MAX_BATCH_BYTES && taken > 0 {
                break;
            }
            match &self.projection {
                Some(projection) => batch.push(projection.apply(doc)),
                None => batch.push(&**doc),
            }
            self.rest.pop_front();
        }
        batch
    }
}

impl Cursor {
    pub(crate) fn is_change_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    fn kill(&self, reason: CommandError) {
        // The first reason stays.
        let _ = self.killed.set(reason);
        self.on_kill.notify_waiters();
    }

    fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

pub(crate) struct Cursors {
    open: Mutex<HashMap<i64, Arc<Cursor>>>,
    next: AtomicI64,
}

impl Default for Cursors {
    fn default() -> Self {
        // Not from 1: the cursor of an earlier life must not be found again.
        let start = bson::DateTime::now().timestamp_millis() << 16;
        Self {
            open: Mutex::default(),
            next: AtomicI64::new(start),
        }
    }
}

impl Cursors {
    fn map(&self) -> MutexGuard<'_, HashMap<i64, Arc<Cursor>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, session: Option<Vec<u8>>, ns: String, kind: Kind) -> i64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let cursor = Cursor {
            session,
            ns,
            kind,
            killed: OnceLock::new(),
            on_kill: Notify::new(),
            last_used: Mutex::new(Instant::now()),
        };
        let mut map = self.map();
        map.retain(|_, c| c.idle() < IDLE_LIMIT);
        map.insert(id, Arc::new(cursor));
        id
    }

    fn get(&self, id: i64) -> Result<Arc<Cursor>> {
        let found = self.map().get(&id).cloned();
        found.ok_or_else(|| CommandError::new(Code::CursorNotFound, format!("cursor id {id} not found")))
    }

    fn remove(&self, id: i64) -> bool {
        let removed = self.map().remove(&id);
        removed.inspect(|c| c.kill(by_client())).is_some()
    }

    /// Ends cursors as a timeout or a restart would: clients find them gone, which drivers resume from.
    pub(crate) fn kill_where(&self, doomed: impl Fn(&Cursor) -> bool) -> usize {
        let mut map = self.map();
        let before = map.len();
        map.retain(|_, cursor| {
            let doomed = doomed(cursor);
            if doomed {
                cursor.kill(CommandError::new(
                    Code::CursorNotFound,
                    "cursor was killed on the server",
                ));
            }
            !doomed
        });
        before - map.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }
}

fn by_client() -> CommandError {
    CommandError::new(
        Code::CursorKilled,
        "operation was interrupted because the client killed the cursor",
    )
}

fn reply(
    id: i64,
    ns: &str,
    batch_name: &bson::raw::CStr,
    batch: RawArrayBuf,
    token: Option<RawDocumentBuf>,
) -> RawDocumentBuf {
    let mut cursor = RawDocumentBuf::new();
    cursor.append(batch_name, batch);
    if let Some(token) = token {
        cursor.append(cstr!("postBatchResumeToken"), token);
    }
    cursor.append(cstr!("id"), id);
    cursor.append(cstr!("ns"), ns);
    rawdoc! { "cursor": cursor }
}

impl Context<'_> {
    /// Answers a read with its first batch and keeps the rest for `getMore`.
    pub(super) fn open_cursor(
        &self,
        ns: &str,
        mut documents: Documents,
        batch_size: usize,
        single_batch: bool,
    ) -> RawDocumentBuf {
        let batch = documents.batch(batch_size);
        let id = if documents.rest.is_empty() || single_batch {
            0
        } else {
            self.server.cursors.add(
                self.session(),
                ns.to_owned(),
                Kind::Documents(Mutex::new(documents)),
            )
        };
        self.connection.streams.store(false, Ordering::SeqCst);
        reply(id, ns, cstr!("firstBatch"), batch, None)
    }

    /// Opens a change stream. Events that are there already (it was resumed) come in the first batch.
    pub(super) fn open_stream(
        &self,
        ns: &str,
        mut stream: ChangeStream,
        batch_size: usize,
    ) -> Result<RawDocumentBuf> {
        let batch = stream.poll(&self.server.oplog, &self.server.store, self.limits(batch_size))?;
        let id = if batch.last {
            0
        } else {
            self.server.cursors.add(
                self.session(),
                ns.to_owned(),
                Kind::Stream(tokio::sync::Mutex::new(Box::new(stream))),
            )
        };
        self.connection.streams.store(true, Ordering::SeqCst);
        Ok(reply(
            id,
            ns,
            cstr!("firstBatch"),
            batch.events.into_iter().collect(),
            Some(batch.resume_token),
        ))
    }

    fn limits(&self, events: usize) -> Limits {
        Limits {
            events,
            event_bytes: self.server.faults.event_limit(),
        }
    }

    pub(super) async fn get_more(&mut self) -> Result<RawDocumentBuf> {
        let id = self.body().get("getMore")?.and_then(as_i64);
        let id = id.ok_or_else(|| {
            CommandError::new(
                Code::TypeMismatch,
                "Field 'getMore' must be of type long in: getMore",
            )
        })?;
        let limit = self.number("batchSize")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
        let wait = self
            .number("maxTimeMS")?
            .map_or(DEFAULT_AWAIT, |ms| Duration::from_millis(ms as u64));
        let cursor = self.server.cursors.get(id)?;
        let asked = self.body().get_str("collection").unwrap_or_default();
        if cursor
            .ns
            .split_once('.')
            .is_none_or(|(db, collection)| db != self.request.db() || collection != asked)
        {
            let message = format!(
                "Requested getMore on namespace '{}.{asked}', but cursor belongs to a different namespace {}",
                self.request.db(),
                cursor.ns
            );
            return Err(CommandError::new(Code::Unauthorized, message));
        }
        cursor.touch();
        self.connection
            .streams
            .store(cursor.is_change_stream(), Ordering::SeqCst);
        let answer = match &cursor.kind {
            Kind::Documents(documents) => {
                let mut documents = documents.lock().unwrap_or_else(PoisonError::into_inner);
                let batch = documents.batch(limit);
                let more = !documents.rest.is_empty();
                Ok((batch, None, more))
            }
            Kind::Stream(stream) => self.next_events(&cursor, stream, limit, wait).await,
        };
        cursor.touch();
        match answer {
            Ok((batch, token, more)) => {
                if !more {
                    self.server.cursors.remove(id);
                }
                Ok(reply(
                    if more { id } else { 0 },
                    &cursor.ns,
                    cstr!("nextBatch"),
                    batch,
                    token,
                ))
            }
            Err(error) => {
                self.server.cursors.remove(id);
                Err(error)
            }
        }
    }

    /// Waits for events, up to `wait`; then an empty batch, whose token has moved on.
    async fn next_events(
        &self,
        cursor: &Cursor,
        stream: &tokio::sync::Mutex<Box<ChangeStream>>,
        limit: usize,
        wait: Duration,
    ) -> Result<(RawArrayBuf, Option<RawDocumentBuf>, bool)> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut published = self.server.oplog.subscribe();
        let mut stream = stream.lock().await;
        loop {
            let killed = cursor.on_kill.notified();
            if let Some(reason) = cursor.killed.get() {
                return Err(reason.clone());
            }
            published.borrow_and_update();
            let batch = stream.poll(&self.server.oplog, &self.server.store, self.limits(limit))?;
            if !batch.events.is_empty() || batch.last || tokio::time::Instant::now() >= deadline {
                return Ok((
                    batch.events.into_iter().collect(),
                    Some(batch.resume_token),
                    !batch.last,
                ));
            }
            tokio::select! {
                _ = published.changed() => {}
                () = killed => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    pub(super) fn kill_cursors(&mut self) -> Result<RawDocumentBuf> {
        let (mut killed, mut unknown) = (RawArrayBuf::new(), RawArrayBuf::new());
        for id in self.body().get_array("cursors")? {
            let RawBsonRef::Int64(id) = id? else {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "Field 'cursors' contains an element that is not of type long",
                ));
            };
            if self.server.cursors.remove(id) {
                killed.push(id)
            } else {
                unknown.push(id)
            }
        }
        Ok(
            rawdoc! { "cursorsKilled": killed, "cursorsNotFound": unknown, "cursorsAlive": [], "cursorsUnknown": [] },
        )
    }
}
