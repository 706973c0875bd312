//! The official Rust driver does its everyday work.

mod common;

use bson::{Bson, Document, doc, oid::ObjectId};
use common::{PATIENCE, Target};
use futures::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Client, Collection, Database,
    change_stream::{
        ChangeStream,
        event::{ChangeStreamEvent, OperationType},
    },
    error::{ErrorKind, WriteFailure},
    options::{ChangeStreamPreAndPostImages, FullDocumentBeforeChangeType, FullDocumentType, ReturnDocument},
};

async fn database(target: &Target) -> Database {
    let client = Client::with_uri_str(&target.uri)
        .await
        .expect("the URI is understood");
    client.database(&format!("t_driver_{}", ObjectId::new().to_hex()))
}

type Events = ChangeStream<ChangeStreamEvent<Document>>;

async fn next(stream: &mut Events) -> ChangeStreamEvent<Document> {
    tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("an event in time")
        .expect("no end")
        .expect("no error")
}

async fn ids(collection: &Collection<Document>, filter: Document) -> Vec<i32> {
    let found: Vec<Document> = collection
        .find(filter)
        .sort(doc! { "_id": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    found.iter().map(|d| d.get_i32("_id").unwrap()).collect()
}

#[tokio::test]
async fn documents_are_made_found_changed_and_removed() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    let docs: Vec<Document> = (0..10)
        .map(|n| doc! { "_id": n, "n": n, "tags": ["all", if n % 2 == 0 { "even" } else { "odd" }] })
        .collect();
    orders.insert_many(docs).await.unwrap();

    assert_eq!(
        ids(&orders, doc! { "tags": "even", "n": { "$gte": 4 } }).await,
        [4, 6, 8]
    );
    let page = orders
        .find(doc! {})
        .sort(doc! { "n": -1 })
        .skip(1)
        .limit(2)
        .projection(doc! { "_id": 1 });
    let page: Vec<Document> = page.await.unwrap().try_collect().await.unwrap();
    assert_eq!(page, [doc! { "_id": 8 }, doc! { "_id": 7 }]);

    let result = orders
        .update_one(
            doc! { "_id": 1 },
            doc! { "$set": { "a.b": 1 }, "$inc": { "n": 10 } },
        )
        .await
        .unwrap();
    assert_eq!((result.matched_count, result.modified_count), (1, 1));
    let result = orders
        .update_many(doc! { "tags": "odd" }, doc! { "$push": { "tags": "seen" } })
        .await
        .unwrap();
    assert_eq!(result.modified_count, 5);
    let result = orders
        .update_one(doc! { "_id": 77 }, doc! { "$set": { "x": 1 } })
        .upsert(true)
        .await
        .unwrap();
    assert_eq!(result.upserted_id, Some(Bson::Int32(77)));
    let result = orders
        .replace_one(doc! { "_id": 77 }, doc! { "y": 2 })
        .await
        .unwrap();
    assert_eq!(result.modified_count, 1);
    let found = orders.find_one(doc! { "_id": 77 }).await.unwrap();
    assert_eq!(found, Some(doc! { "_id": 77, "y": 2 }));

    let counter = orders
        .find_one_and_update(doc! { "_id": 0 }, doc! { "$inc": { "n": 5 } })
        .return_document(ReturnDocument::After)
        .await
        .unwrap();
    assert_eq!(counter.unwrap().get_i32("n").ok(), Some(5));
    assert_eq!(
        orders
            .find_one_and_delete(doc! { "_id": 0 })
            .await
            .unwrap()
            .unwrap()
            .get_i32("_id")
            .ok(),
        Some(0)
    );
    assert_eq!(
        orders
            .delete_many(doc! { "_id": { "$in": [1, 2, 99] } })
            .await
            .unwrap()
            .deleted_count,
        2
    );

    assert_eq!(
        orders.count_documents(doc! { "n": { "$lt": 5 } }).await.unwrap(),
        2
    );
    assert_eq!(orders.estimated_document_count().await.unwrap(), 8);
    let total = vec![doc! { "$group": { "_id": null, "n": { "$sum": "$n" } } }];
    let total: Vec<Document> = orders
        .aggregate(total)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(total, [doc! { "_id": null, "n": 42 }]);
    assert_eq!(db.list_collection_names().await.unwrap(), ["orders"]);
    db.drop().await.unwrap();
    assert!(db.list_collection_names().await.unwrap().is_empty());
}

#[tokio::test]
async fn ids_of_different_numeric_types_are_one_key() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    orders.insert_one(doc! { "_id": 43_i32 }).await.unwrap();
    let error = orders.insert_one(doc! { "_id": 43_i64 }).await.unwrap_err();
    let ErrorKind::Write(WriteFailure::WriteError(error)) = *error.kind else {
        panic!("{error}")
    };
    assert_eq!(error.code, 11000);
    orders.insert_one(doc! { "_id": "43" }).await.unwrap();
    assert_eq!(orders.count_documents(doc! { "_id": 43.0 }).await.unwrap(), 1);
    db.drop().await.unwrap();
}

#[tokio::test]
async fn a_cursor_is_a_picture_that_later_writes_do_not_disturb() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    orders
        .insert_many((0..500).map(|n| doc! { "_id": n, "v": 0 }))
        .await
        .unwrap();
    let mut cursor = orders.find(doc! {}).batch_size(50).await.unwrap();
    let mut seen = Vec::new();
    while let Some(doc) = cursor.try_next().await.unwrap() {
        // A plain cursor of a real MongoDB makes no such promise.
        if seen.is_empty() && target.is_standin() {
            orders.delete_many(doc! { "_id": { "$gte": 400 } }).await.unwrap();
            orders.insert_one(doc! { "_id": 1000, "v": 1 }).await.unwrap();
        }
        seen.push(doc.get_i32("_id").unwrap());
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    db.drop().await.unwrap();
}

#[tokio::test]
async fn a_change_stream_tells_every_change_and_resumes_where_it_was() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    let mut stream = db
        .watch()
        .full_document(FullDocumentType::UpdateLookup)
        .await
        .unwrap();
    let start = stream.resume_token().expect("a token before the first event");
    orders
        .insert_one(doc! { "_id": 1, "a": { "b": 1 }, "gone": 1 })
        .await
        .unwrap();
    orders
        .update_one(
            doc! { "_id": 1 },
            doc! { "$set": { "a.b": 2 }, "$unset": { "gone": "" } },
        )
        .await
        .unwrap();
    orders
        .replace_one(doc! { "_id": 1 }, doc! { "z": 1 })
        .await
        .unwrap();
    orders.delete_one(doc! { "_id": 1 }).await.unwrap();

    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(next(&mut stream).await);
    }
    let operations: Vec<_> = events.iter().map(|e| e.operation_type.clone()).collect();
    use OperationType::{Delete, Insert, Replace, Update};
    assert_eq!(operations, [Insert, Update, Replace, Delete]);
    assert!(events.windows(2).all(|w| w[0].cluster_time < w[1].cluster_time));
    let description = events[1].update_description.as_ref().unwrap();
    assert_eq!(description.updated_fields, doc! { "a.b": 2 });
    assert_eq!(description.removed_fields, ["gone"]);
    assert_eq!(events[2].full_document, Some(doc! { "_id": 1, "z": 1 }));
    assert_eq!(events[3].document_key, Some(doc! { "_id": 1 }));

    let mut again = db.watch().resume_after(start).await.unwrap();
    for event in &events {
        assert_eq!(next(&mut again).await.id, event.id);
    }
    let mut later = db.watch().start_after(events[2].id.clone()).await.unwrap();
    assert_eq!(next(&mut later).await.id, events[3].id);
    let at = events[1].cluster_time.unwrap();
    let mut at_time = orders.watch().start_at_operation_time(at).await.unwrap();
    assert_eq!(next(&mut at_time).await.id, events[1].id);
    db.drop().await.unwrap();
}

#[tokio::test]
async fn pre_and_post_images_are_kept_where_they_were_asked_for() {
    let target = Target::start().await;
    let db = database(&target).await;
    let images = ChangeStreamPreAndPostImages::builder().enabled(true).build();
    db.create_collection("orders")
        .change_stream_pre_and_post_images(images)
        .await
        .unwrap();
    let orders = db.collection::<Document>("orders");
    let stream = orders.watch().full_document(FullDocumentType::Required);
    let mut stream = stream
        .full_document_before_change(FullDocumentBeforeChangeType::Required)
        .await
        .unwrap();
    orders.insert_one(doc! { "_id": 1, "n": 1 }).await.unwrap();
    orders
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 2 } })
        .await
        .unwrap();
    orders
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 3 } })
        .await
        .unwrap();
    orders.delete_one(doc! { "_id": 1 }).await.unwrap();
    next(&mut stream).await;
    let first = next(&mut stream).await;
    assert_eq!(first.full_document_before_change, Some(doc! { "_id": 1, "n": 1 }));
    assert_eq!(
        first.full_document,
        Some(doc! { "_id": 1, "n": 2 }),
        "of its time, not the current one"
    );
    next(&mut stream).await;
    let deleted = next(&mut stream).await;
    assert_eq!(
        deleted.full_document_before_change,
        Some(doc! { "_id": 1, "n": 3 })
    );
    db.drop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_collection_ends_its_stream() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    let mut stream = orders.watch().await.unwrap();
    orders.drop().await.unwrap();
    assert_eq!(next(&mut stream).await.operation_type, OperationType::Drop);
    assert_eq!(next(&mut stream).await.operation_type, OperationType::Invalidate);
    let end = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("the end in time");
    assert!(end.is_none());
    db.drop().await.unwrap();
}

#[tokio::test]
async fn a_document_beyond_sixteen_megabytes_is_refused() {
    let target = Target::start().await;
    let db = database(&target).await;
    let orders = db.collection::<Document>("orders");
    orders
        .insert_one(doc! { "_id": 1, "s": "x".repeat(9 << 20) })
        .await
        .unwrap();
    let grow = doc! { "$set": { "t": "y".repeat(9 << 20) } };
    let error = orders.update_one(doc! { "_id": 1 }, grow).await.unwrap_err();
    let ErrorKind::Write(WriteFailure::WriteError(error)) = *error.kind else {
        panic!("{error}")
    };
    assert!([17419, 10334].contains(&error.code), "{error:?}");
    db.drop().await.unwrap();
}
