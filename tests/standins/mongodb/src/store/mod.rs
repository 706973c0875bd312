//! The documents: databases, collections, and the writes that change them and tell the oplog.

pub mod collection;
pub mod expr;
pub mod matcher;
pub mod order;
pub mod path;
pub mod projection;
mod restore;
pub mod update;

use std::{collections::BTreeMap, sync::Arc};

use bson::{RawBson, RawDocumentBuf, oid::ObjectId, raw::RawDocument};

use self::{
    collection::Collection,
    order::Key,
    update::{Applied, Update},
};
use crate::{
    error::{Code, CommandError, Result},
    oplog::{Change, Images, Oplog},
};

/// A stored document, shared by the collection, the oplog and open cursors.
pub type Doc = Arc<RawDocumentBuf>;

pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// `database.collection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub db: Arc<str>,
    pub collection: Arc<str>,
}

impl Namespace {
    pub fn new(db: &str, collection: &str) -> Result<Self> {
        if collection.is_empty() || collection.contains('\0') || collection.starts_with('$') {
            return Err(CommandError::new(
                Code::InvalidNamespace,
                format!("Invalid namespace specified '{db}.{collection}'"),
            ));
        }
        Ok(Self {
            db: db.into(),
            collection: collection.into(),
        })
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.db, self.collection)
    }
}

pub struct Store {
    databases: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Collection>>,
    oplog: Arc<Oplog>,
}

impl Store {
    pub fn new(oplog: Arc<Oplog>) -> Self {
        Self {
            databases: BTreeMap::new(),
            oplog,
        }
    }

    pub fn databases(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<Arc<str>, Collection>)> {
        self.databases.iter()
    }

    pub fn collections(&self, db: &str) -> impl Iterator<Item = (&Arc<str>, &Collection)> {
        self.databases.get(db).into_iter().flatten()
    }

    pub fn collection(&self, ns: &Namespace) -> Option<&Collection> {
        self.databases.get(&ns.db)?.get(&ns.collection)
    }

    pub fn collection_mut(&mut self, ns: &Namespace) -> Option<&mut Collection> {
        self.databases.get_mut(&ns.db)?.get_mut(&ns.collection)
    }

    /// The current document with this `_id`, as `updateLookup` asks.
    pub fn lookup(&self, db: &str, collection: &str, id: &RawBson) -> Option<Doc> {
        self.databases
            .get(db)?
            .get(collection)?
            .get(&Key(id.clone()))
            .cloned()
    }

    /// Collections come into being with their first document or by `create`.
    pub fn ensure(&mut self, ns: &Namespace) -> &mut Collection {
        self.databases
            .entry(ns.db.clone())
            .or_default()
            .entry(ns.collection.clone())
            .or_default()
    }

    pub fn insert(&mut self, ns: &Namespace, document: RawDocumentBuf) -> Result<RawBson> {
        let (id, document) = prepare(document)?;
        let collection = self.ensure(ns);
        let uuid = collection.uuid;
        let document = Doc::new(document);
        if !collection.insert(Key(id.clone()), document.clone()) {
            return Err(duplicate(ns, &id));
        }
        self.oplog.append(
            &ns.db,
            &ns.collection,
            uuid,
            Change::Insert {
                id: id.clone(),
                document,
            },
            None,
        );
        Ok(id)
    }

    /// Applies an update to one stored document; `None` when it changed nothing, which is then no event either.
    pub fn update(&mut self, ns: &Namespace, id: &Key, update: &Update) -> Result<Option<Doc>> {
        let Some(collection) = self.collection_mut(ns) else {
            return Ok(None);
        };
        let Some(before) = collection.get(id).cloned() else {
            return Ok(None);
        };
        let Applied {
            document,
            description,
        } = update.apply(&before, false)?;
        if document == *before {
            return Ok(None);
        }
        if document.as_bytes().len() > MAX_DOCUMENT_BYTES {
            let message = format!("Resulting document after update is larger than {MAX_DOCUMENT_BYTES}");
            return Err(CommandError::new(Code::Location17419, message));
        }
        let after = Doc::new(document);
        collection.replace(id, after.clone());
        let images = collection.images.then(|| Images {
            before,
            after: after.clone(),
        });
        let uuid = collection.uuid;
        let id = id.0.clone();
        let change = match description {
            Some(description) => Change::Update {
                id,
                description,
                images,
            },
            None => Change::Replace {
                id,
                document: after.clone(),
                images,
            },
        };
        self.oplog
            .append(&ns.db, &ns.collection, uuid, change, Some(&after));
        Ok(Some(after))
    }

    pub fn delete(&mut self, ns: &Namespace, id: &Key) -> Option<Doc> {
        let collection = self.collection_mut(ns)?;
        let document = collection.remove(id)?;
        let before = collection.images.then(|| document.clone());
        let uuid = collection.uuid;
        self.oplog.append(
            &ns.db,
            &ns.collection,
            uuid,
            Change::Delete {
                id: id.0.clone(),
                before,
            },
            None,
        );
        Some(document)
    }

    pub fn drop_collection(&mut self, ns: &Namespace) -> Option<Collection> {
        let collections = self.databases.get_mut(&ns.db)?;
        let dropped = collections.remove(&ns.collection)?;
        if collections.is_empty() {
            self.databases.remove(&ns.db);
        }
        self.oplog
            .append(&ns.db, &ns.collection, dropped.uuid, Change::DropCollection, None);
        Some(dropped)
    }

    /// Each collection's drop comes first, then the database's, as in MongoDB.
    pub fn drop_database(&mut self, db: &str) -> bool {
        let Some((db, collections)) = self.databases.remove_entry(db) else {
            return false;
        };
        for (name, collection) in collections {
            self.oplog
                .append(&db, &name, collection.uuid, Change::DropCollection, None);
        }
        self.oplog
            .append(&db, &"".into(), [0; 16], Change::DropDatabase, None);
        true
    }
}

/// A document fit to be stored: valid to its depths, `_id` present and in front, within the size limit.
fn prepare(document: RawDocumentBuf) -> Result<(RawBson, RawDocumentBuf)> {
    validate(&document)?;
    let first = document.iter().next().transpose()?.map(|(key, _)| key.as_str());
    let given: Option<RawBson> = document.get("_id")?.map(Into::into);
    if matches!(
        given,
        Some(RawBson::Array(_) | RawBson::RegularExpression(_) | RawBson::Undefined)
    ) {
        return Err(CommandError::new(
            Code::InvalidOptions,
            "The '_id' value cannot be an array, a regex or undefined",
        ));
    }
    let (id, document) = match given {
        Some(id) if first == Some("_id") => (id, document),
        given => {
            let id = given.unwrap_or_else(|| RawBson::ObjectId(ObjectId::new()));
            let mut moved = RawDocumentBuf::new();
            moved.append(bson::raw::cstr!("_id"), id.clone());
            for element in &document {
                let (key, value) = element?;
                if key.as_str() != "_id" {
                    moved.append(key, value);
                }
            }
            (id, moved)
        }
    };
    let size = document.as_bytes().len();
    if size > MAX_DOCUMENT_BYTES {
        let message =
            format!("object to insert too large. size in bytes: {size}, max size: {MAX_DOCUMENT_BYTES}");
        return Err(CommandError::new(Code::BSONObjectTooLarge, message));
    }
    Ok((id, document))
}

/// Walks every element once, so that no reader of a stored document need fear a broken one.
fn validate(document: &RawDocument) -> Result<()> {
    for element in document {
        match element?.1 {
            bson::RawBsonRef::Document(inner) => validate(inner)?,
            bson::RawBsonRef::Array(items) => {
                for item in items {
                    if let bson::RawBsonRef::Document(inner) = item? {
                        validate(inner)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn duplicate(ns: &Namespace, id: &RawBson) -> CommandError {
    let shown = bson::Bson::try_from(id.clone()).map_or_else(|_| "?".to_owned(), |v| v.to_string());
    CommandError::new(
        Code::DuplicateKey,
        format!("E11000 duplicate key error collection: {ns} index: _id_ dup key: {{ _id: {shown} }}"),
    )
}
