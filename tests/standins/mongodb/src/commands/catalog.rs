//! Databases, collections and indexes: listing, making and dropping them.

use bson::{
    Binary, RawArrayBuf, RawBsonRef, RawDocumentBuf,
    raw::{RawDocument, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use super::{
    Context,
    cursors::{Documents, FIRST_BATCH},
};
use crate::{
    error::{Code, CommandError, Result, bad_value},
    store::{Doc, Namespace, collection::Collection},
};

/// Databases every replica set has. An empty list of databases would look like missing rights to clients.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "config", "local"];

/// Keys any command may carry that say nothing about what it makes.
const ENVELOPE: [&str; 9] = [
    "$db",
    "lsid",
    "$clusterTime",
    "$readPreference",
    "txnNumber",
    "writeConcern",
    "readConcern",
    "comment",
    "maxTimeMS",
];

impl Context<'_> {
    pub(super) fn list_databases(&mut self) -> Result<RawDocumentBuf> {
        let filter = self.filter("filter")?;
        let name_only = self.bool("nameOnly");
        let mut sizes: Vec<(String, i64)> = SYSTEM_DATABASES
            .iter()
            .map(|name| ((*name).to_owned(), 4096))
            .collect();
        {
            let store = self.server.read();
            for (name, collections) in store.databases() {
                let bytes: usize = collections.values().map(Collection::bytes).sum();
                sizes.retain(|(known, _)| **known != **name);
                sizes.push((
                    name.to_string(),
                    i64::try_from(bytes).unwrap_or(i64::MAX).max(4096),
                ));
            }
        }
        sizes.sort();
        let mut listed = RawArrayBuf::new();
        let mut total = 0;
        for (name, size) in sizes {
            let entry = if name_only {
                rawdoc! { "name": name }
            } else {
                rawdoc! { "name": name, "sizeOnDisk": size, "empty": false }
            };
            if filter.matches(&entry) {
                listed.push(entry);
                total += size;
            }
        }
        let mut reply = rawdoc! { "databases": listed };
        if !name_only {
            reply.append(cstr!("totalSize"), total);
        }
        Ok(reply)
    }

    pub(super) fn list_collections(&mut self) -> Result<RawDocumentBuf> {
        let filter = self.filter("filter")?;
        let name_only = self.bool("nameOnly");
        let db = self.request.db();
        let entries = {
            let store = self.server.read();
            let described: Vec<RawDocumentBuf> = store
                .collections(db)
                .map(|(name, c)| describe(name, c, name_only))
                .collect();
            described
                .into_iter()
                .filter(|entry| filter.matches(entry))
                .map(Doc::new)
                .collect()
        };
        let ns = format!("{db}.$cmd.listCollections");
        Ok(self.open_cursor(
            &ns,
            Documents {
                rest: entries,
                projection: None,
            },
            usize::MAX,
            true,
        ))
    }

    pub(super) fn create(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let images = self.images_option("create", &["create", "autoIndexId", "indexOptionDefaults"])?;
        let mut store = self.server.write();
        if store.collection(&ns).is_some() {
            return Err(CommandError::new(
                Code::NamespaceExists,
                format!("Collection {ns} already exists."),
            ));
        }
        store.ensure(&ns).images = images.unwrap_or(false);
        store.note(&ns);
        Ok(RawDocumentBuf::new())
    }

    pub(super) fn modify_collection(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let images = self.images_option("collMod", &["collMod"])?;
        let mut store = self.server.write();
        let collection = store.collection_mut(&ns).ok_or_else(|| not_found(&ns))?;
        if let Some(images) = images {
            collection.images = images;
        }
        store.note(&ns);
        Ok(RawDocumentBuf::new())
    }

    /// `changeStreamPreAndPostImages: {enabled}`; every other option is refused rather than ignored.
    fn images_option(&self, command: &str, harmless: &[&str]) -> Result<Option<bool>> {
        let mut images = None;
        for element in self.body() {
            let (key, value) = element?;
            match key.as_str() {
                "changeStreamPreAndPostImages" => {
                    let enabled = value.as_document().and_then(|d| d.get_bool("enabled").ok());
                    images =
                        Some(enabled.ok_or_else(|| {
                            bad_value("changeStreamPreAndPostImages needs {enabled: bool}")
                        })?);
                }
                known if harmless.contains(&known) || ENVELOPE.contains(&known) => {}
                other => {
                    return Err(CommandError::new(
                        Code::InvalidOptions,
                        format!("{command}: the option '{other}' is not supported by this stand-in"),
                    ));
                }
            }
        }
        Ok(images)
    }

    pub(super) fn drop_collection(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let dropped = self.server.write().drop_collection(&ns);
        Ok(dropped.map_or_else(
            RawDocumentBuf::new,
            |c| rawdoc! { "nIndexesWas": count(&c), "ns": ns.to_string() },
        ))
    }

    pub(super) fn drop_database(&mut self) -> Result<RawDocumentBuf> {
        let db = self.request.db().to_owned();
        let dropped = self.server.write().drop_database(&db);
        Ok(if dropped {
            rawdoc! { "dropped": db }
        } else {
            RawDocumentBuf::new()
        })
    }

    pub(super) fn create_indexes(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let specs = self.take_list("indexes")?;
        for spec in &specs {
            check_index(spec)?;
        }
        let mut store = self.server.write();
        let created = store.collection(&ns).is_none();
        let collection = store.ensure(&ns);
        let before = count(collection);
        for spec in specs {
            let name = spec.get_str("name")?.to_owned();
            if name != "_id_"
                && !collection
                    .indexes
                    .iter()
                    .any(|i| i.get_str("name").is_ok_and(|n| n == name))
            {
                collection.indexes.push(spec);
            }
        }
        let after = count(collection);
        store.note(&ns);
        Ok(
            rawdoc! { "numIndexesBefore": before, "numIndexesAfter": after, "createdCollectionAutomatically": created },
        )
    }

    pub(super) fn list_indexes(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let indexes = {
            let store = self.server.read();
            let collection = store.collection(&ns).ok_or_else(|| not_found(&ns))?;
            std::iter::once(id_index())
                .chain(collection.indexes.iter().cloned())
                .map(Doc::new)
                .collect()
        };
        Ok(self.open_cursor(
            &ns.to_string(),
            Documents {
                rest: indexes,
                projection: None,
            },
            FIRST_BATCH,
            true,
        ))
    }

    pub(super) fn drop_indexes(&mut self) -> Result<RawDocumentBuf> {
        let ns = self.namespace()?;
        let named = match self.body().get("index")? {
            Some(RawBsonRef::String(name)) => name.to_owned(),
            _ => return Err(bad_value("dropIndexes takes an index name or '*' here")),
        };
        let mut store = self.server.write();
        let collection = store.collection_mut(&ns).ok_or_else(|| not_found(&ns))?;
        let before = count(collection);
        collection
            .indexes
            .retain(|spec| named != "*" && spec.get_str("name").is_ok_and(|n| n != named));
        if named != "*" && count(collection) == before {
            return Err(CommandError::new(
                Code::IndexNotFound,
                format!("index not found with name [{named}]"),
            ));
        }
        store.note(&ns);
        Ok(rawdoc! { "nIndexesWas": before })
    }
}

fn not_found(ns: &Namespace) -> CommandError {
    CommandError::new(Code::NamespaceNotFound, format!("ns does not exist: {ns}"))
}

/// Indexes are remembered, not built; one that would change what may be stored cannot be pretended.
fn check_index(spec: &RawDocument) -> Result<()> {
    for option in ["unique", "expireAfterSeconds"] {
        if !matches!(spec.get(option)?, None | Some(RawBsonRef::Boolean(false))) {
            let message = format!("the index option '{option}' is not supported by this stand-in");
            return Err(CommandError::new(Code::CannotCreateIndex, message));
        }
    }
    if spec.get_str("name").is_err() || spec.get_document("key").is_err() {
        return Err(CommandError::new(
            Code::FailedToParse,
            "an index needs a 'key' and a 'name'",
        ));
    }
    Ok(())
}

fn count(collection: &Collection) -> i32 {
    i32::try_from(collection.indexes.len() + 1).unwrap_or(i32::MAX)
}

fn id_index() -> RawDocumentBuf {
    rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }
}

fn describe(name: &str, collection: &Collection, name_only: bool) -> RawDocumentBuf {
    let mut entry = rawdoc! { "name": name, "type": "collection" };
    if !name_only {
        let uuid = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: collection.uuid.to_vec(),
        };
        let options = if collection.images {
            rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } }
        } else {
            rawdoc! {}
        };
        entry.append(cstr!("options"), options);
        entry.append(cstr!("info"), rawdoc! { "readOnly": false, "uuid": uuid });
        entry.append(cstr!("idIndex"), id_index());
    }
    entry
}
