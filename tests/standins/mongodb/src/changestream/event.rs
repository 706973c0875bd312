//! One oplog entry as a change stream tells it.

use std::sync::{PoisonError, RwLock};

use bson::{RawArrayBuf, RawBson, RawDocumentBuf, raw::cstr, rawdoc};

use super::{BeforeChange, FullDocument, array_of, token_document};
use crate::{
    error::{Code, CommandError, Result},
    oplog::{Change, Entry, token},
    store::{Doc, Store, update::Description},
};

pub(super) fn build(
    entry: &Entry,
    full: FullDocument,
    before: BeforeChange,
    store: &RwLock<Store>,
) -> Result<RawDocumentBuf> {
    let mut event = head(entry, entry.operation(), false);
    match &entry.change {
        Change::Insert { document, .. } | Change::Replace { document, .. } => {
            event.append(cstr!("fullDocument"), &**document)
        }
        Change::Update { id, images, .. } => {
            let found = match full {
                FullDocument::Default => None,
                // The document as it is now, which may be later than this change, or gone.
                FullDocument::UpdateLookup => {
                    let store = store.read().unwrap_or_else(PoisonError::into_inner);
                    Some(store.lookup(&entry.db, &entry.collection, id))
                }
                FullDocument::WhenAvailable => Some(images.as_ref().map(|i| i.after.clone())),
                FullDocument::Required => {
                    Some(Some(required(images.as_ref().map(|i| &i.after), "post-image")?))
                }
            };
            if let Some(found) = found {
                event.append(cstr!("fullDocument"), found.map_or(RawBson::Null, document));
            }
        }
        Change::Delete { .. } | Change::DropCollection | Change::DropDatabase => {}
    }
    namespace(&mut event, entry);
    if let Some(id) = entry.id() {
        event.append(cstr!("documentKey"), rawdoc! { "_id": (id.clone()) });
    }
    if let Change::Update { description, .. } = &entry.change {
        event.append(cstr!("updateDescription"), described(description)?);
    }
    if let Some(image) = image_before(&entry.change, before)? {
        event.append(cstr!("fullDocumentBeforeChange"), image);
    }
    Ok(event)
}

pub(super) fn invalidate(drop: &Entry) -> RawDocumentBuf {
    head(drop, "invalidate", true)
}

fn head(entry: &Entry, operation: &str, from_invalidate: bool) -> RawDocumentBuf {
    rawdoc! {
        "_id": (token_document(token::event(entry, from_invalidate))),
        "operationType": operation,
        "clusterTime": (entry.at),
        "wallTime": (entry.wall),
    }
}

fn namespace(event: &mut RawDocumentBuf, entry: &Entry) {
    let mut ns = rawdoc! { "db": (&*entry.db) };
    if !matches!(entry.change, Change::DropDatabase) {
        ns.append(cstr!("coll"), &*entry.collection);
    }
    event.append(cstr!("ns"), ns);
}

fn document(doc: Doc) -> RawBson {
    RawBson::Document((*doc).clone())
}

fn required(image: Option<&Doc>, what: &str) -> Result<Doc> {
    image.cloned().ok_or_else(|| {
        let message = format!("Change stream was configured to require a {what} for all update, delete and replace events, but the {what} was not found for event");
        CommandError::new(Code::NoMatchingDocument, message).label("NonResumableChangeStreamError")
    })
}

/// The pre-image, `null` when it is wanted but was not kept; `None` when the event carries no such field.
fn image_before(change: &Change, wanted: BeforeChange) -> Result<Option<RawBson>> {
    let kept = match change {
        Change::Update { images, .. } | Change::Replace { images, .. } => images.as_ref().map(|i| &i.before),
        Change::Delete { before, .. } => before.as_ref(),
        Change::Insert { .. } | Change::DropCollection | Change::DropDatabase => return Ok(None),
    };
    match wanted {
        BeforeChange::Off => Ok(None),
        BeforeChange::WhenAvailable => Ok(Some(kept.cloned().map_or(RawBson::Null, document))),
        BeforeChange::Required => required(kept, "pre-image").map(|doc| Some(document(doc))),
    }
}

fn described(description: &Description) -> Result<RawDocumentBuf> {
    let mut truncated = RawArrayBuf::new();
    for (field, size) in &description.truncated {
        truncated.push(rawdoc! { "field": (field.as_str()), "newSize": *size });
    }
    Ok(rawdoc! {
        "updatedFields": (RawDocumentBuf::try_from(&description.updated)?),
        "removedFields": (array_of(description.removed.iter().map(String::as_str))),
        "truncatedArrays": truncated,
    })
}
