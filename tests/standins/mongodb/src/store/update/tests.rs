use bson::{doc, rawbson, rawdoc};

use super::*;

fn update(before: RawDocumentBuf, update: RawDocumentBuf) -> Result<(Document, Description)> {
    let applied = Update::parse(RawBsonRef::Document(&update))?.apply(&before, false)?;
    Ok((
        Document::try_from(&*applied.document)?,
        applied.description.unwrap_or_default(),
    ))
}

#[test]
fn set_and_unset_tell_dotted_paths_and_new_ones_from_their_first_new_step() {
    let before = rawdoc! { "_id": 1, "a": { "b": 1 }, "gone": 1, "same": 5 };
    let change =
        rawdoc! { "$set": { "a.b": 2, "x.y.z": 3, "same": 5 }, "$unset": { "gone": "", "never": "" } };
    let (after, description) = update(before, change).unwrap();
    assert_eq!(
        after,
        doc! { "_id": 1, "a": { "b": 2 }, "same": 5, "x": { "y": { "z": 3 } } }
    );
    assert_eq!(description.updated, doc! { "a.b": 2, "x": { "y": { "z": 3 } } });
    assert_eq!(description.removed, ["gone"]);
}

#[test]
fn numbers_grow_rather_than_wrap() {
    let (after, _) = update(
        rawdoc! { "_id": 1, "n": i32::MAX },
        rawdoc! { "$inc": { "n": 1, "new": 2.5 } },
    )
    .unwrap();
    assert_eq!(after, doc! { "_id": 1, "n": 2_147_483_648_i64, "new": 2.5 });
    assert!(update(rawdoc! { "_id": 1, "n": "x" }, rawdoc! { "$inc": { "n": 1 } }).is_err());
}

#[test]
fn pushes_tell_the_new_elements_and_pulls_the_whole_array() {
    let before = rawdoc! { "_id": 1, "a": [1, 2], "docs": [{ "k": 1 }, { "k": 2 }], "s": [3, 8, 9] };
    let change = rawdoc! { "$push": { "a": { "$each": [3, 4] }, "fresh": 1 }, "$pull": { "docs": { "k": 1 }, "s": { "$gt": 5 } } };
    let (after, description) = update(before, change).unwrap();
    assert_eq!(
        after,
        doc! { "_id": 1, "a": [1, 2, 3, 4], "docs": [{ "k": 2 }], "s": [3], "fresh": [1] }
    );
    assert_eq!(
        description.updated,
        doc! { "a.2": 3, "a.3": 4, "fresh": [1], "docs": [{ "k": 2 }], "s": [3] }
    );
    assert_eq!(description.truncated, []);
}

#[test]
fn push_with_position_and_slice_tells_the_array_whole() {
    let (after, description) = update(
        rawdoc! { "_id": 1, "a": [1, 2, 3] },
        rawdoc! { "$push": { "a": { "$each": [0], "$position": 0, "$slice": 2 } } },
    )
    .unwrap();
    assert_eq!(after, doc! { "_id": 1, "a": [0, 1] });
    assert_eq!(description.updated, doc! { "a": [0, 1] });
}

#[test]
fn sets_renames_and_extremes() {
    let before = rawdoc! { "_id": 1, "tags": ["a"], "old": 7, "low": 5, "high": 5 };
    let change = rawdoc! {
        "$addToSet": { "tags": { "$each": ["a", "b"] } }, "$rename": { "old": "new" }, "$min": { "low": 3 }, "$max": { "high": 4 },
    };
    let (after, description) = update(before, change).unwrap();
    assert_eq!(
        after,
        doc! { "_id": 1, "tags": ["a", "b"], "low": 3, "high": 5, "new": 7 }
    );
    assert_eq!(description.updated, doc! { "tags.1": "b", "new": 7, "low": 3 });
    assert_eq!(description.removed, ["old"]);
}

#[test]
fn a_pipeline_that_shortens_an_array_tells_its_new_size() {
    let pipeline = rawbson!([{ "$set": { "a": { "$slice": ["$a", 2] }, "n": { "$add": ["$n", 1] } } }, { "$unset": "gone" }]);
    let before = rawdoc! { "_id": 1, "a": [1, 2, 3], "n": 1, "gone": 1 };
    let applied = Update::parse(pipeline.as_raw_bson_ref())
        .unwrap()
        .apply(&before, false)
        .unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 1, "a": [1, 2], "n": 2 });
    let description = applied.description.unwrap();
    assert_eq!(description.truncated, [("a".to_owned(), 2)]);
    assert_eq!(description.updated, doc! { "n": 2 });
    assert_eq!(description.removed, ["gone"]);
}

#[test]
fn a_replacement_keeps_the_id_in_front_and_has_no_description() {
    let change = rawdoc! { "x": 1 };
    let applied = Update::parse(RawBsonRef::Document(&change))
        .unwrap()
        .apply(&rawdoc! { "_id": 9, "y": 1 }, false)
        .unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 9, "x": 1 });
    assert!(applied.description.is_none());
}

#[test]
fn what_mongodb_refuses_is_refused_with_its_code() {
    let code = |change: RawDocumentBuf| update(rawdoc! { "_id": 1, "a": 5 }, change).unwrap_err().name;
    assert_eq!(code(rawdoc! { "$set": { "_id": 2 } }), "ImmutableField");
    assert_eq!(code(rawdoc! { "_id": 2 }), "ImmutableField");
    assert_eq!(
        code(rawdoc! { "$set": { "a": 1 }, "$inc": { "a.b": 1 } }),
        "ConflictingUpdateOperators"
    );
    assert_eq!(code(rawdoc! { "$set": { "a.b": 1 } }), "PathNotViable");
    assert_eq!(code(rawdoc! { "$bit": { "a": 1 } }), "FailedToParse");
}

#[test]
fn an_upsert_starts_from_the_filters_equalities() {
    let filter = Filter::parse(&rawdoc! { "_id": 7, "tenant.id": "acme", "n": { "$gt": 1 } }).unwrap();
    let operators = rawdoc! { "$set": { "x": 1 }, "$setOnInsert": { "y": 2 } };
    let inserted = Update::parse(RawBsonRef::Document(&operators))
        .unwrap()
        .upsert(&filter)
        .unwrap();
    assert_eq!(
        inserted,
        rawdoc! { "_id": 7, "tenant": { "id": "acme" }, "x": 1, "y": 2 }
    );
    let replacement = rawdoc! { "x": 1 };
    let inserted = Update::parse(RawBsonRef::Document(&replacement))
        .unwrap()
        .upsert(&filter)
        .unwrap();
    assert_eq!(inserted, rawdoc! { "_id": 7, "x": 1 });
}
