//! The journal of the persistent mode: one file of BSON records, each written before a reader can see what it says.
//!
//! A record is one `write`, so that what was acknowledged survives `kill -9` (not the loss of power: nothing is synced).
//! Opening a journal reads it to its end, passes over a last record that was cut short, and writes it anew without what
//! the window has dropped.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use bson::{
    Binary, RawArrayBuf, RawBson, RawDocumentBuf, Timestamp,
    raw::{RawDocument, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use super::{Change, Entry, Images};
use crate::store::{Doc, update::Description};

const FILE: &str = "journal.bson";
const LOCK: &str = "journal.lock";
const FORMAT: i32 = 1;

/// What a journal tells, in the order it was written.
#[derive(Debug)]
pub enum Record {
    /// The first one: all history up to this time is gone.
    Start { lost_through: Timestamp },
    /// History was dropped on demand.
    Truncated { lost_through: Timestamp },
    /// A collection as it is from here on.
    Collection {
        db: Arc<str>,
        collection: Arc<str>,
        uuid: [u8; 16],
        images: bool,
        indexes: Vec<RawDocumentBuf>,
    },
    /// A document whose insertion is no longer in the window.
    Row {
        db: Arc<str>,
        collection: Arc<str>,
        document: Doc,
    },
    /// A change. `after` is the document that an update led to.
    Entry { entry: Entry, after: Option<Doc> },
    /// A change whose outcome the rows before it hold already.
    Past { entry: Entry },
    /// What a session's last write was answered, so that one sent twice happens once.
    Reply {
        session: Vec<u8>,
        transaction: i64,
        reply: RawDocumentBuf,
    },
}

/// The open end of a journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Held for as long as the journal is open: two servers on one journal would ruin it.
    _lock: File,
}

impl Journal {
    /// Locks the folder and reads what is there.
    pub fn open(dir: &Path) -> anyhow::Result<(Unopened, Vec<Record>)> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the data folder {}", dir.display()))?;
        let lock = File::create(dir.join(LOCK))?;
        lock.try_lock()
            .with_context(|| format!("another server uses the data folder {}", dir.display()))?;
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let records = read(&bytes).with_context(|| format!("the journal {} is damaged", path.display()))?;
        Ok((Unopened { path, lock }, records))
    }

    /// Appends a record. A server that cannot keep its word stops, as MongoDB does.
    pub(super) fn write(&mut self, record: &RawDocumentBuf) {
        if let Err(error) = self.file.write_all(record.as_bytes()) {
            tracing::error!(journal = %self.path.display(), %error, "the journal cannot be written; the server stops");
            std::process::exit(14);
        }
    }
}

/// A journal that was read and not yet written anew.
#[derive(Debug)]
pub struct Unopened {
    path: PathBuf,
    lock: File,
}

impl Unopened {
    /// Writes the records that say what is, in place of all that was read.
    pub fn rewrite(self, records: impl Iterator<Item = RawDocumentBuf>) -> anyhow::Result<Journal> {
        let unfinished = self.path.with_extension("new");
        let mut writer = std::io::BufWriter::new(File::create(&unfinished)?);
        for record in records {
            writer.write_all(record.as_bytes())?;
        }
        let file = writer.into_inner()?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
            .with_context(|| format!("cannot replace {}", self.path.display()))?;
        Ok(Journal {
            file,
            path: self.path,
            _lock: self.lock,
        })
    }
}

fn read(mut bytes: &[u8]) -> anyhow::Result<Vec<Record>> {
    let (mut records, whole) = (Vec::new(), bytes.len());
    while let Some(length) = bytes.first_chunk::<4>() {
        let length = usize::try_from(i32::from_le_bytes(*length)).unwrap_or(0);
        let at = whole - bytes.len();
        ensure!(length >= 5, "a record of {length} bytes at byte {at}");
        if length > bytes.len() {
            break;
        }
        let (record, rest) = bytes.split_at(length);
        let record = RawDocument::from_bytes(record).with_context(|| format!("the record at byte {at}"))?;
        records.push(decode(record).with_context(|| format!("the record at byte {at}"))?);
        bytes = rest;
    }
    if !bytes.is_empty() {
        tracing::warn!(
            bytes = bytes.len(),
            "the journal's last record was cut short: it was never acknowledged"
        );
    }
    Ok(records)
}

impl Record {
    pub(super) fn encode(&self) -> RawDocumentBuf {
        match self {
            Self::Start { lost_through } => rawdoc! { "k": "start", "format": FORMAT, "lost": *lost_through },
            Self::Truncated { lost_through } => rawdoc! { "k": "truncated", "lost": *lost_through },
            Self::Collection {
                db,
                collection,
                uuid,
                images,
                indexes,
            } => {
                let indexes: RawArrayBuf = indexes.iter().cloned().collect();
                rawdoc! { "k": "collection", "db": (&**db), "c": (&**collection), "u": (binary(uuid)), "images": *images, "indexes": indexes }
            }
            Self::Row {
                db,
                collection,
                document,
            } => {
                rawdoc! { "k": "row", "db": (&**db), "c": (&**collection), "doc": (document.as_ref().clone()) }
            }
            Self::Entry { entry, after } => encode_entry("entry", entry, after.as_ref()),
            Self::Past { entry } => encode_entry("past", entry, None),
            Self::Reply {
                session,
                transaction,
                reply,
            } => {
                rawdoc! { "k": "reply", "session": (binary(session)), "transaction": *transaction, "reply": (reply.clone()) }
            }
        }
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

/// An entry as a record; `kind` is `entry` or `past`.
pub(super) fn encode_entry(kind: &str, entry: &Entry, after: Option<&Doc>) -> RawDocumentBuf {
    let mut record = rawdoc! {
        "k": kind, "ts": (entry.at), "wall": (entry.wall), "db": (&*entry.db), "c": (&*entry.collection),
        "u": (binary(&entry.uuid)), "op": (entry.operation()),
    };
    if let Some(id) = entry.id() {
        record.append(cstr!("id"), id.clone());
    }
    let images = match &entry.change {
        Change::Insert { document, .. } => {
            record.append(cstr!("doc"), &**document);
            None
        }
        Change::Replace { document, images, .. } => {
            record.append(cstr!("doc"), &**document);
            images.as_ref()
        }
        Change::Update {
            description, images, ..
        } => {
            record.append(cstr!("description"), encode_description(description));
            if let Some(after) = after {
                record.append(cstr!("doc"), &**after);
            }
            images.as_ref()
        }
        Change::Delete { before, .. } => {
            if let Some(before) = before {
                record.append(cstr!("before"), &**before);
            }
            None
        }
        Change::DropCollection | Change::DropDatabase => None,
    };
    if let Some(images) = images {
        record.append(cstr!("before"), &*images.before);
        record.append(cstr!("after"), &*images.after);
    }
    record
}

fn encode_description(description: &Description) -> RawDocumentBuf {
    let updated = RawDocumentBuf::try_from(&description.updated)
        .unwrap_or_else(|_| unreachable!("paths and values come from documents that were checked"));
    let mut truncated = RawArrayBuf::new();
    for (field, size) in &description.truncated {
        truncated.push(rawdoc! { "field": (field.as_str()), "size": *size });
    }
    let removed: RawArrayBuf = description.removed.iter().map(String::as_str).collect();
    rawdoc! { "updated": updated, "removed": removed, "truncated": truncated }
}

fn decode(record: &RawDocument) -> anyhow::Result<Record> {
    let text = |name| Ok::<Arc<str>, anyhow::Error>(record.get_str(name)?.into());
    Ok(match record.get_str("k")? {
        "start" => {
            let format = record.get_i32("format")?;
            ensure!(
                format == FORMAT,
                "it has format {format}; this program writes {FORMAT}"
            );
            Record::Start {
                lost_through: record.get_timestamp("lost")?,
            }
        }
        "truncated" => Record::Truncated {
            lost_through: record.get_timestamp("lost")?,
        },
        "collection" => Record::Collection {
            db: text("db")?,
            collection: text("c")?,
            uuid: uuid(record)?,
            images: record.get_bool("images")?,
            indexes: documents(record, "indexes")?,
        },
        "row" => Record::Row {
            db: text("db")?,
            collection: text("c")?,
            document: Doc::new(record.get_document("doc")?.to_owned()),
        },
        "entry" => Record::Entry {
            entry: decode_entry(record)?,
            after: optional(record, "doc")?,
        },
        "past" => Record::Past {
            entry: decode_entry(record)?,
        },
        "reply" => Record::Reply {
            session: record.get_binary("session")?.bytes.to_vec(),
            transaction: record.get_i64("transaction")?,
            reply: record.get_document("reply")?.to_owned(),
        },
        other => bail!("no such kind of record: {other}"),
    })
}

fn decode_entry(record: &RawDocument) -> anyhow::Result<Entry> {
    let id = || Ok::<RawBson, anyhow::Error>(record.get("id")?.context("it has no id")?.into());
    let document = || Ok::<Doc, anyhow::Error>(Doc::new(record.get_document("doc")?.to_owned()));
    let images = || {
        let (before, after) = (optional(record, "before")?, optional(record, "after")?);
        Ok::<Option<Images>, anyhow::Error>(before.zip(after).map(|(before, after)| Images { before, after }))
    };
    let change = match record.get_str("op")? {
        "insert" => Change::Insert {
            id: id()?,
            document: document()?,
        },
        "update" => Change::Update {
            id: id()?,
            description: decode_description(record.get_document("description")?)?,
            images: images()?,
        },
        "replace" => Change::Replace {
            id: id()?,
            document: document()?,
            images: images()?,
        },
        "delete" => Change::Delete {
            id: id()?,
            before: optional(record, "before")?,
        },
        "drop" => Change::DropCollection,
        "dropDatabase" => Change::DropDatabase,
        other => bail!("no such operation: {other}"),
    };
    Ok(Entry {
        at: record.get_timestamp("ts")?,
        wall: record.get_datetime("wall")?,
        db: record.get_str("db")?.into(),
        collection: record.get_str("c")?.into(),
        uuid: uuid(record)?,
        change,
    })
}

fn decode_description(record: &RawDocument) -> anyhow::Result<Description> {
    let mut description = Description {
        updated: bson::Document::try_from(record.get_document("updated")?)?,
        ..Description::default()
    };
    for field in record.get_array("removed")? {
        description
            .removed
            .push(field?.as_str().context("a field's name is text")?.to_owned());
    }
    for array in documents(record, "truncated")? {
        description
            .truncated
            .push((array.get_str("field")?.to_owned(), array.get_i32("size")?));
    }
    Ok(description)
}

fn uuid(record: &RawDocument) -> anyhow::Result<[u8; 16]> {
    Ok(record.get_binary("u")?.bytes.try_into()?)
}

fn optional(record: &RawDocument, name: &str) -> anyhow::Result<Option<Doc>> {
    let found = record.get(name)?.and_then(bson::RawBsonRef::as_document);
    Ok(found.map(|document| Doc::new(document.to_owned())))
}

fn documents(record: &RawDocument, name: &str) -> anyhow::Result<Vec<RawDocumentBuf>> {
    let items = record.get_array(name)?.into_iter();
    items
        .map(|item| {
            let document = item?.as_document().context("an array of documents")?;
            Ok(document.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cut_short_at_the_end_is_passed_over_and_damage_before_it_is_told() {
        let whole = Record::Truncated {
            lost_through: Timestamp {
                time: 7,
                increment: 1,
            },
        }
        .encode();
        let mut bytes = whole.as_bytes().to_vec();
        bytes.extend_from_slice(&whole.as_bytes()[..9]);
        assert_eq!(read(&bytes).unwrap().len(), 1);
        let mut damaged = whole.as_bytes().to_vec();
        damaged[5] = b'?';
        assert!(read(&damaged).is_err());
    }

    #[test]
    fn one_folder_serves_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let held = Journal::open(dir.path()).unwrap();
        let error = Journal::open(dir.path()).unwrap_err();
        assert!(format!("{error:#}").contains("another server"), "{error:#}");
        drop(held);
        assert!(Journal::open(dir.path()).is_ok());
    }
}
