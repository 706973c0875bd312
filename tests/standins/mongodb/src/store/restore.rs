//! The store across a restart: what a journal's records make of it, and the records that say what it holds.

use std::{collections::BTreeMap, sync::Arc};

use super::{Store, collection::Collection, order::Key};
use crate::oplog::{Change, Entry, journal::Record};

impl Store {
    /// Takes over one record of an earlier life. What concerns sessions only is the caller's.
    pub(crate) fn restore(&mut self, record: Record) {
        match record {
            Record::Start { lost_through } => self.oplog.restore_loss(lost_through, true),
            Record::Truncated { lost_through } => self.oplog.restore_loss(lost_through, false),
            Record::Collection {
                db,
                collection,
                uuid,
                images,
                indexes,
            } => {
                let restored = self.restored(&db, &collection);
                restored.uuid = uuid;
                restored.images = images;
                restored.indexes = indexes;
            }
            Record::Row {
                db,
                collection,
                document,
            } => {
                if let Ok(Some(id)) = document.get("_id") {
                    let key = Key::of(id);
                    let _ = self.restored(&db, &collection).insert(key, document);
                }
            }
            Record::Entry { entry, after } => {
                self.redo(&entry, after);
                self.oplog.restore(entry);
            }
            Record::Past { entry } => self.oplog.restore(entry),
            Record::Reply { .. } => {}
        }
    }

    fn restored(&mut self, db: &Arc<str>, collection: &Arc<str>) -> &mut Collection {
        self.databases
            .entry(db.clone())
            .or_default()
            .entry(collection.clone())
            .or_default()
    }

    fn redo(&mut self, entry: &Entry, after: Option<super::Doc>) {
        match &entry.change {
            Change::Insert { id, document } => {
                let new = self
                    .databases
                    .get(&entry.db)
                    .is_none_or(|db| !db.contains_key(&entry.collection));
                let collection = self.restored(&entry.db, &entry.collection);
                if new {
                    collection.uuid = entry.uuid;
                }
                let _ = collection.insert(Key(id.clone()), document.clone());
            }
            Change::Update { id, .. } => {
                if let Some(after) = after {
                    self.restored(&entry.db, &entry.collection)
                        .replace(&Key(id.clone()), after);
                }
            }
            Change::Replace { id, document, .. } => {
                self.restored(&entry.db, &entry.collection)
                    .replace(&Key(id.clone()), document.clone());
            }
            Change::Delete { id, .. } => {
                self.restored(&entry.db, &entry.collection)
                    .remove(&Key(id.clone()));
            }
            Change::DropCollection => {
                if let Some(collections) = self.databases.get_mut(&entry.db) {
                    collections.remove(&entry.collection);
                    if collections.is_empty() {
                        self.databases.remove(&entry.db);
                    }
                }
            }
            Change::DropDatabase => drop(self.databases.remove(&entry.db)),
        }
    }

    /// All of it, as records that make a store of the same content.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        fn of<'a>(
            db: &'a Arc<str>,
            collections: &'a BTreeMap<Arc<str>, Collection>,
        ) -> impl Iterator<Item = Record> + 'a {
            collections.iter().flat_map(move |(name, collection)| {
                let rows = collection.documents().map(move |document| Record::Row {
                    db: db.clone(),
                    collection: name.clone(),
                    document: document.clone(),
                });
                std::iter::once(as_record(db, name, collection)).chain(rows)
            })
        }
        self.databases
            .iter()
            .flat_map(|(db, collections)| of(db, collections))
    }

    /// Writes down how a collection is set up, after a command changed that.
    pub(crate) fn note(&self, ns: &super::Namespace) {
        if let Some(collection) = self.collection(ns) {
            self.oplog.note(|| as_record(&ns.db, &ns.collection, collection));
        }
    }
}

fn as_record(db: &Arc<str>, name: &Arc<str>, collection: &Collection) -> Record {
    Record::Collection {
        db: db.clone(),
        collection: name.clone(),
        uuid: collection.uuid,
        images: collection.images,
        indexes: collection.indexes.clone(),
    }
}
