//! Sessions, as far as retryable writes need them: a write that is sent twice happens once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bson::{RawDocumentBuf, raw::RawDocument};

use super::Context;
use crate::{error::Result, oplog::journal::Record, store::expr::as_i64};

/// Sessions whose last write is remembered. Drivers pool them, so that even a large stage uses a few dozen.
const REMEMBERED: usize = 10_000;

/// Each session's last transaction number and the reply it got.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Vec<u8>, (i64, RawDocumentBuf)>>);

impl Sessions {
    fn map(&self) -> MutexGuard<'_, HashMap<Vec<u8>, (i64, RawDocumentBuf)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply_to(&self, session: &[u8], transaction: i64) -> Option<RawDocumentBuf> {
        self.map()
            .get(session)
            .filter(|(number, _)| *number == transaction)
            .map(|(_, reply)| reply.clone())
    }

    pub(crate) fn remember(&self, session: Vec<u8>, transaction: i64, reply: RawDocumentBuf) {
        let mut map = self.map();
        if map.len() >= REMEMBERED
            && !map.contains_key(&session)
            && let Some(any) = map.keys().next().cloned()
        {
            map.remove(&any);
        }
        map.insert(session, (transaction, reply));
    }

    /// All of it, as records of a journal.
    pub(crate) fn records(&self) -> Vec<Record> {
        let map = self.map();
        let records = map.iter().map(|(session, (transaction, reply))| Record::Reply {
            session: session.clone(),
            transaction: *transaction,
            reply: reply.clone(),
        });
        records.collect()
    }

    pub(crate) fn end(&self, session: &[u8]) {
        self.map().remove(session);
    }
}

/// The bytes of `{id: <uuid>}`.
pub(crate) fn id_of(lsid: &RawDocument) -> Option<Vec<u8>> {
    lsid.get_binary("id").ok().map(|binary| binary.bytes.to_vec())
}

impl Context<'_> {
    /// Runs a write unless its session has had it answered already. Drivers retry after a lost connection, and the
    /// connection may have been lost after the write took effect.
    pub(super) fn once_per_transaction_number(
        &mut self,
        write: fn(&mut Self) -> Result<RawDocumentBuf>,
    ) -> Result<RawDocumentBuf> {
        let number = self.body().get("txnNumber")?.and_then(as_i64);
        let (Some(session), Some(number)) = (self.session(), number) else {
            return write(self);
        };
        if let Some(reply) = self.server.sessions.reply_to(&session, number) {
            return Ok(reply);
        }
        let reply = write(self)?;
        self.server.oplog.note(|| Record::Reply {
            session: session.clone(),
            transaction: number,
            reply: reply.clone(),
        });
        self.server.sessions.remember(session, number, reply.clone());
        Ok(reply)
    }
}
