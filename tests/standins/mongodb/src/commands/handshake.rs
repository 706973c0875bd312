//! How the server introduces itself.

use bson::{DateTime, RawDocumentBuf, raw::cstr, rawdoc};

use super::Context;
use crate::{store::MAX_DOCUMENT_BYTES, wire::MAX_MESSAGE_BYTES};

/// MongoDB 7.0.
const WIRE_VERSION: i32 = 21;
const VERSION: &str = "7.0.14";
const MAX_WRITE_BATCH: i32 = 100_000;

impl Context<'_> {
    /// `topologyVersion` is left out on purpose: without it clients poll every ten seconds instead of holding a
    /// connection open for pushed changes, of which there are none.
    pub(super) fn hello(&self, modern: bool) -> RawDocumentBuf {
        let server = self.server;
        let election = server.role.primary();
        let now = DateTime::now();
        let mut reply = RawDocumentBuf::new();
        reply.append(
            if modern {
                cstr!("isWritablePrimary")
            } else {
                cstr!("ismaster")
            },
            election.is_some(),
        );
        if super::is_true(self.body(), "helloOk") {
            reply.append(cstr!("helloOk"), true);
        }
        let address = server.address.as_str();
        let common = rawdoc! {
            "secondary": election.is_none(),
            "hosts": [address],
            "setName": server.replica_set.as_str(),
            "setVersion": 1,
            "me": address,
            "lastWrite": { "opTime": { "ts": server.oplog.now(), "t": election.map_or(0, |e| e.term) }, "lastWriteDate": now },
            "maxBsonObjectSize": i32::try_from(MAX_DOCUMENT_BYTES).unwrap_or(i32::MAX),
            "maxMessageSizeBytes": i32::try_from(MAX_MESSAGE_BYTES).unwrap_or(i32::MAX),
            "maxWriteBatchSize": MAX_WRITE_BATCH,
            "localTime": now,
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": i32::try_from(self.connection.id).unwrap_or(i32::MAX),
            "minWireVersion": 0,
            "maxWireVersion": WIRE_VERSION,
            "readOnly": false,
        };
        let of_primary = election.map(|e| rawdoc! { "primary": address, "electionId": (e.id) });
        let login = self.handshake_login();
        for part in [Some(common), of_primary, Some(login)].into_iter().flatten() {
            for (key, value) in part.iter().map_while(Result::ok) {
                reply.append(key, value);
            }
        }
        reply
    }

    pub(super) fn replica_set_status(&self) -> RawDocumentBuf {
        let server = self.server;
        let election = server.role.primary();
        let (state, name) = if election.is_some() {
            (1, "PRIMARY")
        } else {
            (2, "SECONDARY")
        };
        let optime = rawdoc! { "ts": server.oplog.now(), "t": election.map_or(0, |e| e.term) };
        let member = rawdoc! {
            "_id": 0, "name": server.address.as_str(), "health": 1.0, "state": state, "stateStr": name, "optime": optime, "self": true,
        };
        rawdoc! { "set": server.replica_set.as_str(), "date": DateTime::now(), "myState": state, "members": [member] }
    }
}

pub(super) fn build_info() -> RawDocumentBuf {
    rawdoc! {
        "version": VERSION,
        "versionArray": [7, 0, 14, 0],
        "gitVersion": "tributary-standin-mongodb",
        "modules": [],
        "bits": 64,
        "debug": false,
        "maxBsonObjectSize": i32::try_from(MAX_DOCUMENT_BYTES).unwrap_or(i32::MAX),
    }
}
