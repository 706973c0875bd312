//! `find`, `count` and `distinct`.

use std::collections::{BTreeSet, VecDeque};

use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, rawdoc};

use super::{
    Context,
    cursors::{Documents, FIRST_BATCH},
};
use crate::{
    error::{Code, CommandError, Result},
    store::{
        Doc, Namespace,
        collection::Query,
        matcher::Filter,
        order::Key,
        path,
        projection::{Projection, Sort},
    },
};

impl Context<'_> {
    pub(super) fn find(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        if self.bool("tailable") {
            return Err(CommandError::new(
                Code::BadValue,
                "tailable cursors are not supported by this stand-in; use a change stream",
            ));
        }
        let filter = self.filter("filter")?;
        let sort = self.document("sort")?.map(Sort::parse).transpose()?.flatten();
        let projection = self
            .document("projection")?
            .map(Projection::parse)
            .transpose()?
            .flatten();
        let query = Query {
            filter: &filter,
            sort: sort.as_ref(),
            skip: self.number("skip")?.unwrap_or(0),
            limit: self.number("limit")?.unwrap_or(0),
        };
        let batch_size = self.number("batchSize")?.unwrap_or(FIRST_BATCH);
        let documents = Documents {
            rest: self.matching(&ns, &query),
            projection,
        };
        Ok(self.open_cursor(&ns.to_string(), documents, batch_size, self.bool("singleBatch")))
    }

    fn matching(&self, ns: &Namespace, query: &Query<'_>) -> VecDeque<Doc> {
        self.server
            .read()
            .collection(ns)
            .map_or_else(VecDeque::new, |c| c.find(query).into())
    }

    pub(super) fn filter(&self, name: &str) -> Result<Filter> {
        Filter::parse(self.document(name)?.unwrap_or(&RawDocumentBuf::new()))
    }

    pub(super) fn count(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let filter = self.filter("query")?;
        let found = self.server.read().collection(&ns).map_or(0, |c| c.count(&filter));
        let found = found.saturating_sub(self.number("skip")?.unwrap_or(0));
        let limit = self.number("limit")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
        Ok(rawdoc! { "n": i32::try_from(found.min(limit)).unwrap_or(i32::MAX) })
    }

    pub(super) fn distinct(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let filter = self.filter("query")?;
        let path = path::split(self.body().get_str("key")?);
        let query = Query {
            filter: &filter,
            sort: None,
            skip: 0,
            limit: 0,
        };
        let docs = self.matching(&ns, &query);
        let mut values = BTreeSet::new();
        for doc in &docs {
            let mut found = Vec::new();
            path::candidates(doc, &path, &mut found);
            for value in found.into_iter().flatten() {
                match value {
                    RawBsonRef::Array(items) => {
                        values.extend(items.into_iter().map_while(std::result::Result::ok).map(Key::of))
                    }
                    value => drop(values.insert(Key::of(value))),
                }
            }
        }
        let values: RawArrayBuf = values.into_iter().map(|key| key.0).collect();
        Ok(rawdoc! { "values": values })
    }
}
