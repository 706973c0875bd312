use std::sync::RwLock;

use bson::{RawBson, rawbson, rawdoc};

use super::*;
use crate::{
    oplog::Window,
    store::{Namespace, order::Key, update::Update},
};

fn limits(events: usize) -> Limits {
    Limits {
        events,
        event_bytes: MAX_EVENT_BYTES,
    }
}

struct Bench {
    oplog: Arc<Oplog>,
    store: RwLock<Store>,
    ns: Namespace,
}

impl Bench {
    fn new() -> Self {
        let oplog = Arc::new(Oplog::new(Window::default()));
        Self {
            store: RwLock::new(Store::new(oplog.clone())),
            oplog,
            ns: Namespace::new("t_acme", "orders").unwrap(),
        }
    }

    fn insert(&self, id: i32) {
        self.store
            .write()
            .unwrap()
            .insert(&self.ns, rawdoc! { "_id": id, "n": 0 })
            .unwrap();
    }

    fn update(&self, id: i32, update: RawDocumentBuf) {
        let update = Update::parse(RawBsonRef::Document(&update)).unwrap();
        self.store
            .write()
            .unwrap()
            .update(&self.ns, &Key(RawBson::Int32(id)), &update)
            .unwrap();
    }

    fn delete(&self, id: i32) {
        self.store
            .write()
            .unwrap()
            .delete(&self.ns, &Key(RawBson::Int32(id)))
            .unwrap();
    }

    fn open(&self, options: RawDocumentBuf, collection: Option<&str>) -> Result<ChangeStream> {
        let stages = rawbson!([{ "$changeStream": (options) }]);
        ChangeStream::open("t_acme", collection, stages.as_array().unwrap(), &self.oplog)
    }

    fn poll(&self, stream: &mut ChangeStream) -> Batch {
        stream.poll(&self.oplog, &self.store, limits(1000)).unwrap()
    }
}

fn operations(batch: &Batch) -> Vec<&str> {
    batch
        .events
        .iter()
        .map(|e| e.get_str("operationType").unwrap())
        .collect()
}

#[test]
fn an_idle_token_resumes_before_the_next_change_and_an_event_token_after_its_own() {
    let bench = Bench::new();
    bench.insert(1);
    let mut stream = bench.open(rawdoc! {}, None).unwrap();
    let idle = bench.poll(&mut stream);
    assert!(idle.events.is_empty(), "nothing from before it was opened");
    bench.insert(2);
    bench.insert(3);
    let told = bench.poll(&mut stream);
    assert_eq!(operations(&told), ["insert", "insert"]);
    assert_eq!(
        told.resume_token,
        told.events[1].get_document("_id").unwrap().to_owned()
    );

    let mut resumed = bench
        .open(rawdoc! { "resumeAfter": (idle.resume_token) }, None)
        .unwrap();
    assert_eq!(bench.poll(&mut resumed).events, told.events);
    let first = told.events[0].get_document("_id").unwrap().to_owned();
    let mut resumed = bench.open(rawdoc! { "resumeAfter": first }, None).unwrap();
    assert_eq!(bench.poll(&mut resumed).events, told.events[1..]);
    let at = told.events[1].get_timestamp("clusterTime").unwrap();
    let mut resumed = bench.open(rawdoc! { "startAtOperationTime": at }, None).unwrap();
    assert_eq!(bench.poll(&mut resumed).events, told.events[1..]);
}

#[test]
fn update_lookup_gives_the_current_document_or_null() {
    let bench = Bench::new();
    let mut stream = bench
        .open(
            rawdoc! { "fullDocument": "updateLookup", "fullDocumentBeforeChange": "whenAvailable" },
            None,
        )
        .unwrap();
    bench.insert(1);
    bench.update(1, rawdoc! { "$set": { "n": 1 } });
    bench.update(1, rawdoc! { "$set": { "n": 2 }, "$unset": { "gone": 1 } });
    bench.insert(2);
    bench.update(2, rawdoc! { "$inc": { "n": 1 } });
    bench.delete(2);
    let batch = bench.poll(&mut stream);
    assert_eq!(
        operations(&batch),
        ["insert", "update", "update", "insert", "update", "delete"]
    );
    let now = rawdoc! { "_id": 1, "n": 2 };
    assert_eq!(batch.events[1].get_document("fullDocument").unwrap(), &*now);
    assert_eq!(
        batch.events[4].get("fullDocument").unwrap(),
        Some(RawBsonRef::Null)
    );
    assert_eq!(batch.events[5].get("fullDocument").unwrap(), None);
    assert_eq!(
        batch.events[5].get("fullDocumentBeforeChange").unwrap(),
        Some(RawBsonRef::Null),
        "images are off"
    );
    let description = rawdoc! { "updatedFields": { "n": 1 }, "removedFields": [], "truncatedArrays": [] };
    assert_eq!(
        batch.events[1].get_document("updateDescription").unwrap(),
        &*description
    );
}

#[test]
fn images_are_the_documents_of_their_time() {
    let bench = Bench::new();
    bench.insert(1);
    bench
        .store
        .write()
        .unwrap()
        .collection_mut(&bench.ns)
        .unwrap()
        .images = true;
    let mut stream = bench
        .open(
            rawdoc! { "fullDocument": "required", "fullDocumentBeforeChange": "required" },
            Some("orders"),
        )
        .unwrap();
    bench.update(1, rawdoc! { "$set": { "n": 1 } });
    bench.update(1, rawdoc! { "n": 2 });
    bench.delete(1);
    let batch = bench.poll(&mut stream);
    assert_eq!(operations(&batch), ["update", "replace", "delete"]);
    let n = |event: &RawDocumentBuf, field: &str| event.get_document(field).unwrap().get_i32("n").unwrap();
    assert_eq!(
        (
            n(&batch.events[0], "fullDocumentBeforeChange"),
            n(&batch.events[0], "fullDocument")
        ),
        (0, 1)
    );
    assert_eq!(
        (
            n(&batch.events[1], "fullDocumentBeforeChange"),
            n(&batch.events[1], "fullDocument")
        ),
        (1, 2)
    );
    assert_eq!(n(&batch.events[2], "fullDocumentBeforeChange"), 2);

    bench
        .store
        .write()
        .unwrap()
        .collection_mut(&bench.ns)
        .unwrap()
        .images = false;
    bench.insert(2);
    bench.delete(2);
    let error = stream.poll(&bench.oplog, &bench.store, limits(10)).err().unwrap();
    assert!(error.is(Code::NoMatchingDocument), "{error}");
}

#[test]
fn a_dropped_collection_invalidates_its_stream_and_not_the_databases() {
    let bench = Bench::new();
    bench.insert(1);
    let mut narrow = bench.open(rawdoc! {}, Some("orders")).unwrap();
    let mut wide = bench.open(rawdoc! {}, None).unwrap();
    bench.store.write().unwrap().drop_collection(&bench.ns);
    bench.insert(2);
    let batch = bench.poll(&mut narrow);
    assert_eq!(operations(&batch), ["drop", "invalidate"]);
    assert!(batch.last);
    assert_eq!(operations(&bench.poll(&mut wide)), ["drop", "insert"]);

    let error = bench
        .open(
            rawdoc! { "resumeAfter": (batch.resume_token.clone()) },
            Some("orders"),
        )
        .err()
        .unwrap();
    assert!(error.is(Code::InvalidResumeToken));
    let mut after = bench
        .open(rawdoc! { "startAfter": (batch.resume_token) }, Some("orders"))
        .unwrap();
    assert_eq!(operations(&bench.poll(&mut after)), ["insert"]);
    let dropped = batch.events[0].get_document("_id").unwrap().to_owned();
    let mut after = bench
        .open(rawdoc! { "resumeAfter": dropped }, Some("orders"))
        .unwrap();
    assert_eq!(operations(&bench.poll(&mut after)), ["invalidate"]);
}

#[test]
fn lost_history_is_said_so_to_new_streams_and_running_ones() {
    let bench = Bench::new();
    let mut stream = bench.open(rawdoc! {}, None).unwrap();
    bench.insert(1);
    let token = bench.poll(&mut stream).resume_token;
    bench.insert(2);
    bench.oplog.truncate(0, false);
    let error = bench.open(rawdoc! { "resumeAfter": token }, None).err().unwrap();
    assert!(error.is(Code::ChangeStreamHistoryLost) && error.labels == ["NonResumableChangeStreamError"]);
    assert!(
        stream
            .poll(&bench.oplog, &bench.store, limits(10))
            .err()
            .unwrap()
            .is(Code::ChangeStreamHistoryLost)
    );
}

#[test]
fn batches_are_limited_and_lose_nothing() {
    let bench = Bench::new();
    let mut stream = bench.open(rawdoc! {}, None).unwrap();
    (0..5).for_each(|n| bench.insert(n));
    let sizes: Vec<usize> = (0..4)
        .map(|_| {
            stream
                .poll(&bench.oplog, &bench.store, limits(2))
                .unwrap()
                .events
                .len()
        })
        .collect();
    assert_eq!(sizes, [2, 2, 1, 0]);
}

#[test]
fn options_are_checked() {
    let bench = Bench::new();
    assert!(
        bench
            .open(rawdoc! { "nonsense": 1 }, None)
            .err()
            .unwrap()
            .is(Code::Location40415)
    );
    assert!(
        bench
            .open(rawdoc! { "allChangesForCluster": true }, None)
            .is_err()
    );
    assert!(bench.open(rawdoc! { "fullDocument": "maybe" }, None).is_err());
    let both = rawdoc! { "resumeAfter": { "_data": "" }, "startAtOperationTime": (Timestamp { time: 1, increment: 1 }) };
    assert!(bench.open(both, None).is_err());
}
