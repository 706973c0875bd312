//! What only a primary does, and how a member that is none refuses it.

use bson::raw::RawDocument;

use super::Context;
use crate::error::{Code, CommandError, Result};

const WRITES: [&str; 11] = [
    "insert",
    "update",
    "delete",
    "findAndModify",
    "findandmodify",
    "create",
    "collMod",
    "drop",
    "dropDatabase",
    "createIndexes",
    "dropIndexes",
];
const READS: [&str; 7] = [
    "find",
    "count",
    "distinct",
    "aggregate",
    "listDatabases",
    "listCollections",
    "listIndexes",
];

impl Context<'_> {
    pub(super) fn refuse_without_primary(&self, name: &str) -> Result<()> {
        let writes = WRITES.contains(&name);
        if !writes && !READS.contains(&name) || self.server.role.primary().is_some() {
            return Ok(());
        }
        if !writes {
            return if reads_from_secondaries(self.body()) {
                Ok(())
            } else {
                Err(CommandError::new(
                    Code::NotPrimaryNoSecondaryOk,
                    "not primary and secondaryOk=false",
                ))
            };
        }
        let refused = CommandError::new(Code::NotWritablePrimary, "not primary");
        // Since MongoDB 4.4 the server says which writes are to be sent again.
        Err(if self.body().get("txnNumber")?.is_some() {
            refused.label("RetryableWriteError")
        } else {
            refused
        })
    }
}

fn reads_from_secondaries(command: &RawDocument) -> bool {
    let preference = command.get_document("$readPreference").ok();
    preference.is_some_and(|p| p.get_str("mode").is_ok_and(|mode| mode != "primary"))
}
