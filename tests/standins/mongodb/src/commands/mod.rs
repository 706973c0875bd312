//! One handler per command, and what every reply has in common.

mod aggregate;
mod catalog;
pub(crate) mod cursors;
mod handshake;
pub(crate) mod login;
mod primary;
mod read;
pub(crate) mod sessions;
mod write;

use std::sync::Arc;

use bson::{
    Binary, RawBsonRef, RawDocumentBuf, Timestamp,
    raw::{RawDocument, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use crate::{
    error::{Code, CommandError, Result, bad_value},
    server::{Connection, Server},
    store::{Namespace, expr::as_i64},
    wire::Request,
};

/// A command and its surroundings.
pub(crate) struct Context<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) connection: &'a Connection,
    pub(crate) request: &'a mut Request,
}

/// Runs one command; whatever happens, there is a reply.
pub(crate) async fn run(
    server: &Arc<Server>,
    connection: &Connection,
    request: &mut Request,
) -> RawDocumentBuf {
    let name = request.name().to_owned();
    let mut context = Context {
        server,
        connection,
        request,
    };
    let outcome = match context.refuse(&name) {
        Ok(()) => context.dispatch(&name).await,
        Err(error) => Err(error),
    };
    server.oplog.publish();
    if let Err(error) = &outcome {
        tracing::debug!(command = name, %error, "command failed");
    }
    finish(server, outcome)
}

/// Adds what every reply carries: `ok`, `operationTime` and the gossiped cluster time.
pub(crate) fn finish(server: &Server, outcome: Result<RawDocumentBuf>) -> RawDocumentBuf {
    let mut reply = match outcome {
        Ok(mut reply) => {
            reply.append(cstr!("ok"), 1.0);
            reply
        }
        Err(error) => error.to_reply(),
    };
    let now = server.oplog.now();
    reply.append(cstr!("$clusterTime"), cluster_time(now));
    reply.append(cstr!("operationTime"), now);
    reply
}

fn cluster_time(now: Timestamp) -> RawDocumentBuf {
    let unsigned = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 20],
    };
    rawdoc! { "clusterTime": now, "signature": { "hash": unsigned, "keyId": 0_i64 } }
}

impl Context<'_> {
    async fn dispatch(&mut self, name: &str) -> Result<RawDocumentBuf> {
        match name {
            "hello" | "isMaster" | "ismaster" => Ok(self.hello(name == "hello")),
            _ if self.request.is_legacy() => Err(CommandError::new(
                Code::CommandNotFound,
                format!("Unsupported OP_QUERY command: {name}. Use OP_MSG after the handshake."),
            )),
            "ping" => Ok(RawDocumentBuf::new()),
            "buildInfo" | "buildinfo" => Ok(handshake::build_info()),
            "replSetGetStatus" => Ok(self.replica_set_status()),
            "connectionStatus" => Ok(self.connection_status()),
            "saslStart" => self.sasl_start(),
            "saslContinue" => self.sasl_continue(),
            "endSessions" | "killSessions" => self.end_sessions(name),
            "refreshSessions" => Ok(RawDocumentBuf::new()),

            "find" => self.find(),
            "count" => self.count(),
            "distinct" => self.distinct(),
            "aggregate" => self.aggregate(),
            "getMore" => self.get_more().await,
            "killCursors" => self.kill_cursors(),

            "insert" => self.once_per_transaction_number(Self::insert),
            "update" => self.once_per_transaction_number(Self::update),
            "delete" => self.once_per_transaction_number(Self::delete),
            "findAndModify" | "findandmodify" => self.once_per_transaction_number(Self::find_and_modify),

            "listDatabases" => self.list_databases(),
            "listCollections" => self.list_collections(),
            "create" => self.create(),
            "collMod" => self.modify_collection(),
            "drop" => self.drop_collection(),
            "dropDatabase" => self.drop_database(),
            "createIndexes" => self.create_indexes(),
            "listIndexes" => self.list_indexes(),
            "dropIndexes" => self.drop_indexes(),
            other => Err(CommandError::new(
                Code::CommandNotFound,
                format!("no such command: '{other}'"),
            )),
        }
    }

    fn refuse(&self, name: &str) -> Result<()> {
        self.refuse_strangers(name)?;
        self.refuse_without_primary(name)?;
        self.refuse_unsupported(name)
    }

    /// What would change the meaning of a command if it were ignored.
    fn refuse_unsupported(&self, name: &str) -> Result<()> {
        let body = self.body();
        if body.get("startTransaction")?.is_some()
            || body.get("autocommit")?.is_some()
            || name.ends_with("Transaction")
        {
            let message = "Multi-document transactions are not supported by this stand-in.";
            return Err(CommandError::new(
                Code::OperationNotSupportedInTransaction,
                message,
            ));
        }
        if body
            .get_document("collation")
            .is_ok_and(|c| c.get_str("locale").ok() != Some("simple"))
        {
            return Err(bad_value("collation is not supported by this stand-in"));
        }
        Ok(())
    }

    fn body(&self) -> &RawDocument {
        &self.request.body
    }

    /// The collection a command names as its first value.
    fn namespace(&self) -> Result<Namespace> {
        let first = self.body().iter().next().transpose()?;
        match first {
            Some((_, RawBsonRef::String(collection))) => Namespace::new(self.request.db(), collection),
            _ => Err(CommandError::new(
                Code::InvalidNamespace,
                "collection name has invalid type",
            )),
        }
    }

    fn bool(&self, name: &str) -> bool {
        is_true(self.body(), name)
    }

    /// A count such as `limit` or `batchSize`; negative ones are refused.
    fn number(&self, name: &str) -> Result<Option<usize>> {
        match self.body().get(name)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(value) => as_i64(value)
                .and_then(|n| usize::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| bad_value(format!("BSON field '{name}' value must be a whole number >= 0"))),
        }
    }

    fn document(&self, name: &str) -> Result<Option<&RawDocument>> {
        match self.body().get(name)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::Document(doc)) => Ok(Some(doc)),
            Some(_) => Err(CommandError::new(
                Code::TypeMismatch,
                format!("BSON field '{name}' is the wrong type, expected object"),
            )),
        }
    }

    /// A list that travels as a document sequence or, from older clients, within the body.
    fn take_list(&mut self, name: &str) -> Result<Vec<RawDocumentBuf>> {
        if let Some(at) = self.request.sequences.iter().position(|(n, _)| n == name) {
            return Ok(self.request.sequences.swap_remove(at).1);
        }
        match self.body().get(name)? {
            Some(RawBsonRef::Array(items)) => items
                .into_iter()
                .map(|item| match item? {
                    RawBsonRef::Document(doc) => Ok(doc.to_owned()),
                    _ => Err(CommandError::new(
                        Code::TypeMismatch,
                        format!("'{name}' must hold objects"),
                    )),
                })
                .collect(),
            _ => Err(CommandError::new(
                Code::Location40415,
                format!("BSON field '{name}' is missing but a required field"),
            )),
        }
    }

    fn session(&self) -> Option<Vec<u8>> {
        sessions::id_of(self.body().get_document("lsid").ok()?)
    }

    fn end_sessions(&mut self, name: &str) -> Result<RawDocumentBuf> {
        for session in self.body().get_array(name)? {
            if let Some(id) = session?.as_document().and_then(sessions::id_of) {
                self.server.sessions.end(&id);
                self.server
                    .cursors
                    .kill_where(|cursor| cursor.session.as_ref() == Some(&id));
            }
        }
        Ok(RawDocumentBuf::new())
    }
}

fn is_true(doc: &RawDocument, name: &str) -> bool {
    match doc.get(name) {
        Ok(Some(RawBsonRef::Boolean(b))) => b,
        Ok(Some(value)) => as_i64(value).is_some_and(|n| n != 0),
        _ => false,
    }
}
