use bson::{RawBson, RawDocumentBuf, rawbson, rawdoc};
use proptest::prelude::*;

use super::*;

fn matches(filter: RawDocumentBuf, doc: &RawDocumentBuf) -> bool {
    Filter::parse(&filter).unwrap().matches(doc)
}

fn regex(pattern: &str, options: &str) -> RawBson {
    RawBson::RegularExpression(bson::Regex {
        pattern: pattern.to_owned().try_into().unwrap(),
        options: options.to_owned().try_into().unwrap(),
    })
}

#[test]
fn paths_reach_into_documents_and_arrays() {
    let doc = rawdoc! { "a": { "b": 1 }, "items": [{ "sku": "x", "n": 1 }, { "sku": "y", "n": 5 }], "tags": ["red", "blue"] };
    assert!(matches(rawdoc! { "a.b": 1 }, &doc));
    assert!(matches(rawdoc! { "items.sku": "y", "tags": "red" }, &doc));
    assert!(matches(rawdoc! { "items.1.n": { "$gt": 4 } }, &doc));
    assert!(!matches(
        rawdoc! { "items": { "$elemMatch": { "sku": "x", "n": { "$gt": 4 } } } },
        &doc
    ));
    assert!(matches(
        rawdoc! { "items": { "$elemMatch": { "sku": "y", "n": { "$gt": 4 } } } },
        &doc
    ));
    assert!(matches(
        rawdoc! { "tags": { "$size": 2, "$all": ["blue", "red"] } },
        &doc
    ));
}

#[test]
fn missing_and_null_are_alike_to_equality_but_not_to_exists() {
    let (missing, null) = (rawdoc! { "x": 1 }, rawdoc! { "a": null });
    assert!(matches(rawdoc! { "a": null }, &missing) && matches(rawdoc! { "a": null }, &null));
    assert!(
        !matches(rawdoc! { "a": { "$exists": true } }, &missing)
            && matches(rawdoc! { "a": { "$exists": true } }, &null)
    );
    assert!(matches(rawdoc! { "a": { "$ne": 5 } }, &missing));
    assert!(matches(rawdoc! { "a": { "$in": [null, 1] } }, &missing));
}

#[test]
fn comparisons_stay_within_their_type() {
    let doc = rawdoc! { "n": 5, "s": "5" };
    assert!(matches(rawdoc! { "n": { "$gte": 5.0, "$lt": 6_i64 } }, &doc));
    assert!(!matches(rawdoc! { "s": { "$gt": 1 } }, &doc));
    assert!(matches(rawdoc! { "s": { "$lte": (RawBson::MaxKey) } }, &doc));
    assert!(!matches(
        rawdoc! { "n": { "$lt": 6 } },
        &rawdoc! { "n": f64::NAN }
    ));
}

#[test]
fn both_forms_of_debeziums_filter() {
    let literal = rawdoc! { "$and": [
        { "ns": { "$in": [{ "db": "t_acme", "coll": "orders" }] } },
        { "operationType": { "$in": ["insert", "update", "replace", "delete"] } },
    ] };
    let event = rawdoc! { "ns": { "db": "t_acme", "coll": "orders" }, "operationType": "insert" };
    assert!(matches(literal.clone(), &event));
    assert!(!matches(
        literal,
        &rawdoc! { "ns": { "db": "t_acme", "coll": "orders" }, "operationType": "drop" }
    ));

    let pattern = rawdoc! { "$and": [
        { "$or": [{ "namespace": (regex("t_acme.orders|t_acme.customers", "i")) }, { "namespace": "t_acme.signals" }] },
        { "event.operationType": { "$in": ["insert"] } },
    ] };
    let wrapped = |ns: &str| rawdoc! { "namespace": ns, "event": { "operationType": "insert" } };
    assert!(
        matches(pattern.clone(), &wrapped("T_ACME.ORDERS")),
        "the option i"
    );
    assert!(
        matches(pattern.clone(), &wrapped("xt_acme.ordersx")),
        "unanchored"
    );
    assert!(matches(pattern.clone(), &wrapped("t_acme.signals")));
    assert!(!matches(pattern, &wrapped("t_other.orders")));
}

#[test]
fn exclude_lists_come_as_a_negative_look_ahead() {
    let filter = rawdoc! { "namespace": (regex("^(?!t_acme\\.audit$).*$", "i")) };
    assert!(matches(filter.clone(), &rawdoc! { "namespace": "t_acme.orders" }));
    assert!(!matches(filter, &rawdoc! { "namespace": "t_acme.audit" }));
}

#[test]
fn the_skip_pipelines_size_test() {
    let filter = rawdoc! { "$and": [{ "$expr": { "$lte": [{ "$bsonSize": "$fullDocument" }, 20] } }] };
    assert!(matches(filter.clone(), &rawdoc! { "operationType": "delete" }));
    assert!(!matches(
        filter,
        &rawdoc! { "fullDocument": { "text": "much longer than twenty bytes" } }
    ));
}

#[test]
fn what_is_not_known_is_refused() {
    for filter in [
        rawdoc! { "$where": "1" },
        rawdoc! { "a": { "$near": 1 } },
        rawdoc! { "$or": [] },
        rawdoc! { "a": { "$in": 1 } },
    ] {
        assert!(Filter::parse(&filter).is_err(), "{filter:?}");
    }
}

#[test]
fn ids_narrow_the_scan() {
    let access = |f: RawDocumentBuf| Filter::parse(&f).unwrap().id_access();
    assert!(matches!(access(rawdoc! { "_id": 5, "x": 1 }), IdAccess::Points(p) if p.len() == 1));
    assert!(matches!(access(rawdoc! { "_id": { "$in": [1, 2, 2] } }), IdAccess::Points(p) if p.len() == 2));
    assert!(matches!(
        access(rawdoc! { "$and": [{ "_id": { "$gt": 1 } }, { "_id": { "$lte": 9 } }] }),
        IdAccess::Range(..)
    ));
    assert!(matches!(access(rawdoc! { "_id": { "$gt": 9, "$lt": 1 } }), IdAccess::Points(p) if p.is_empty()));
    assert!(matches!(
        access(rawdoc! { "$or": [{ "_id": 1 }, { "x": 1 }] }),
        IdAccess::All
    ));
}

proptest! {
    #[test]
    fn a_predicate_and_its_negation_part_the_documents(n in -5_i32..5, bound in -5_i32..5, present in any::<bool>()) {
        let doc = if present { rawdoc! { "n": n } } else { rawdoc! {} };
        for operator in ["$eq", "$gt", "$gte", "$lt", "$lte"] {
            let mut inner = RawDocumentBuf::new();
            inner.append(bson::raw::CString::try_from(operator).unwrap(), bound);
            let plain = matches(rawdoc! { "n": (inner.clone()) }, &doc);
            prop_assert_ne!(plain, matches(rawdoc! { "n": { "$not": (inner) } }, &doc));
            let expected = present && match operator {
                "$eq" => n == bound,
                "$gt" => n > bound,
                "$gte" => n >= bound,
                "$lt" => n < bound,
                _ => n <= bound,
            };
            prop_assert_eq!(plain, expected);
        }
    }

    #[test]
    fn an_id_filter_narrows_without_losing_anyone(ids in prop::collection::btree_set(-20_i32..20, 0..20), low in -20_i32..20, high in -20_i32..20) {
        let filter = Filter::parse(&rawdoc! { "_id": { "$gt": low, "$lte": high } }).unwrap();
        let expected: Vec<i32> = ids.iter().copied().filter(|i| *i > low && *i <= high).collect();
        let index: std::collections::BTreeSet<Key> = ids.iter().map(|i| Key(rawbson!(*i))).collect();
        let narrowed: Vec<Key> = match filter.id_access() {
            IdAccess::Points(keys) => keys,
            IdAccess::Range(lo, hi) => index.range((lo, hi)).cloned().collect(),
            IdAccess::All => index.into_iter().collect(),
        };
        prop_assert_eq!(narrowed, expected.into_iter().map(|i| Key(rawbson!(i))).collect::<Vec<_>>());
    }
}
