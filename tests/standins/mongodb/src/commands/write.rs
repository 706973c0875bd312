//! `insert`, `update`, `delete` and `findAndModify`.

use bson::{
    RawArrayBuf, RawBson, RawDocumentBuf,
    raw::{RawDocument, cstr},
    rawdoc,
};

use super::{Context, is_true};
use crate::{
    error::{Code, CommandError, Result, bad_value},
    store::{
        Doc, Namespace, Store,
        collection::Query,
        expr::as_i64,
        matcher::Filter,
        order::Key,
        projection::{Projection, Sort},
        update::Update,
    },
};

/// What a batch of writes came to.
#[derive(Default)]
struct Tally {
    n: i32,
    modified: Option<i32>,
    upserted: RawArrayBuf,
    errors: RawArrayBuf,
}

impl Tally {
    /// Runs each statement; an ordered batch stops at the first that fails.
    fn run<T>(
        mut self,
        statements: Vec<T>,
        ordered: bool,
        mut each: impl FnMut(&mut Self, i32, T) -> Result<()>,
    ) -> RawDocumentBuf {
        for (index, statement) in (0_i32..).zip(statements) {
            if let Err(error) = each(&mut self, index, statement) {
                self.errors.push(write_error(index, &error));
                if ordered {
                    break;
                }
            }
        }
        let mut reply = rawdoc! { "n": self.n };
        if let Some(modified) = self.modified {
            reply.append(cstr!("nModified"), modified);
        }
        if !self.upserted.is_empty() {
            reply.append(cstr!("upserted"), self.upserted);
        }
        if !self.errors.is_empty() {
            reply.append(cstr!("writeErrors"), self.errors);
        }
        reply
    }
}

fn write_error(index: i32, error: &CommandError) -> RawDocumentBuf {
    let mut entry = rawdoc! { "index": index, "code": error.code, "errmsg": error.message.as_str() };
    if error.is(Code::DuplicateKey) {
        entry.append(cstr!("keyPattern"), rawdoc! { "_id": 1 });
    }
    entry
}

/// One element of `updates`, or the update half of `findAndModify`.
struct UpdateStatement {
    filter: Filter,
    update: Update,
    upsert: bool,
    multi: bool,
}

struct Updated {
    matched: i32,
    modified: i32,
    upserted: Option<RawBson>,
}

impl UpdateStatement {
    fn parse(doc: &RawDocument) -> Result<Self> {
        if doc
            .get_array("arrayFilters")
            .is_ok_and(|filters| !filters.is_empty())
        {
            return Err(bad_value("arrayFilters are not supported by this stand-in"));
        }
        let update = doc.get("u")?.ok_or_else(|| {
            CommandError::new(Code::Location40415, "BSON field 'update.updates.u' is missing")
        })?;
        let statement = Self {
            filter: Filter::parse(doc.get_document("q")?)?,
            update: Update::parse(update)?,
            upsert: is_true(doc, "upsert"),
            multi: is_true(doc, "multi"),
        };
        if statement.multi && statement.update.is_replacement() {
            return Err(CommandError::new(
                Code::FailedToParse,
                "multi update is not supported for replacement-style update",
            ));
        }
        Ok(statement)
    }

    fn run(&self, store: &mut Store, ns: &Namespace) -> Result<Updated> {
        let limit = if self.multi { usize::MAX } else { 1 };
        let ids = store
            .collection(ns)
            .map_or_else(Vec::new, |c| c.matching_ids(&self.filter, limit));
        if ids.is_empty() && self.upsert {
            let id = store.insert(ns, self.update.upsert(&self.filter)?)?;
            return Ok(Updated {
                matched: 1,
                modified: 0,
                upserted: Some(id),
            });
        }
        let mut updated = Updated {
            matched: 0,
            modified: 0,
            upserted: None,
        };
        for id in ids {
            updated.modified += i32::from(store.update(ns, &id, &self.update)?.is_some());
            updated.matched += 1;
        }
        Ok(updated)
    }
}

impl Context<'_> {
    fn ordered(&self) -> bool {
        self.body().get("ordered").ok().flatten().is_none() || self.bool("ordered")
    }

    pub(super) fn insert(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let documents = self.take_list("documents")?;
        let mut store = self.server.write();
        Ok(
            Tally::default().run(documents, self.ordered(), |tally, _, document| {
                store.insert(&ns, document)?;
                tally.n += 1;
                Ok(())
            }),
        )
    }

    pub(super) fn update(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let statements = self.take_list("updates")?;
        let mut store = self.server.write();
        let tally = Tally {
            modified: Some(0),
            ..Tally::default()
        };
        Ok(tally.run(statements, self.ordered(), |tally, index, statement| {
            let updated = UpdateStatement::parse(&statement)?.run(&mut store, &ns)?;
            tally.n += updated.matched;
            tally.modified = tally.modified.map(|n| n + updated.modified);
            if let Some(id) = updated.upserted {
                tally.upserted.push(rawdoc! { "index": index, "_id": id });
            }
            Ok(())
        }))
    }

    pub(super) fn delete(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let statements = self.take_list("deletes")?;
        let mut store = self.server.write();
        Ok(
            Tally::default().run(statements, self.ordered(), |tally, _, statement| {
                let filter = Filter::parse(statement.get_document("q")?)?;
                let limit = if statement.get("limit")?.and_then(as_i64) == Some(1) {
                    1
                } else {
                    usize::MAX
                };
                let ids = store
                    .collection(&ns)
                    .map_or_else(Vec::new, |c| c.matching_ids(&filter, limit));
                for id in ids {
                    tally.n += i32::from(store.delete(&ns, &id).is_some());
                }
                Ok(())
            }),
        )
    }

    pub(super) fn find_and_modify(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let filter = self.filter("query")?;
        let sort = self.document("sort")?.map(Sort::parse).transpose()?.flatten();
        let fields = self
            .document("fields")?
            .map(Projection::parse)
            .transpose()?
            .flatten();
        let update = self.body().get("update")?.map(Update::parse).transpose()?;
        let (remove, return_new, upsert) = (self.bool("remove"), self.bool("new"), self.bool("upsert"));
        let shown = |doc: Option<Doc>| match (doc, &fields) {
            (None, _) => RawBson::Null,
            (Some(doc), None) => RawBson::Document((*doc).clone()),
            (Some(doc), Some(fields)) => RawBson::Document(fields.apply(&doc)),
        };

        let mut store = self.server.write();
        let query = Query {
            filter: &filter,
            sort: sort.as_ref(),
            skip: 0,
            limit: 1,
        };
        let found = store
            .collection(&ns)
            .and_then(|c| c.find(&query).into_iter().next());
        let id = found
            .as_ref()
            .and_then(|doc| doc.get("_id").ok().flatten())
            .map(Key::of);
        match (id, update, remove) {
            (_, Some(_), true) => Err(CommandError::new(
                Code::FailedToParse,
                "Cannot specify both an update and remove=true",
            )),
            (_, None, false) => Err(CommandError::new(
                Code::FailedToParse,
                "Either an update or remove=true must be specified",
            )),
            (Some(id), None, true) => {
                let removed = store.delete(&ns, &id);
                Ok(rawdoc! { "lastErrorObject": { "n": 1 }, "value": (shown(removed)) })
            }
            (Some(id), Some(update), false) => {
                let changed = store.update(&ns, &id, &update)?;
                let value = if return_new { changed.or(found) } else { found };
                Ok(
                    rawdoc! { "lastErrorObject": { "n": 1, "updatedExisting": true }, "value": (shown(value)) },
                )
            }
            (None, Some(update), false) if upsert => {
                let inserted = store.insert(&ns, update.upsert(&filter)?)?;
                let new = store
                    .lookup(&ns.db, &ns.collection, &inserted)
                    .filter(|_| return_new);
                Ok(
                    rawdoc! { "lastErrorObject": { "n": 1, "updatedExisting": false, "upserted": inserted }, "value": (shown(new)) },
                )
            }
            (None, Some(_), false) => {
                Ok(rawdoc! { "lastErrorObject": { "n": 0, "updatedExisting": false }, "value": null })
            }
            (None, None, true) => Ok(rawdoc! { "lastErrorObject": { "n": 0 }, "value": null }),
        }
    }
}
