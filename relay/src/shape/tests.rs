//! The conversion table against its published vectors, and the path tree against a naive reading of the same rules.

use proptest::prelude::*;
use serde_json::{Value, json};
use tributary_crds::relay::{
    BsonType, ColumnConfig, ColumnSource, DatasetConfig, MetaSource, OnError, TableConfig, TopicConfig,
};

use super::*;

pub(super) fn column(name: &str, ty: &str, source: ColumnSource) -> ColumnConfig {
    ColumnConfig {
        name: name.into(),
        column_type: ty.parse().unwrap(),
        source,
        bson: None,
        default: None,
        on_error: OnError::Overflow,
        nullable: true,
    }
}

pub(super) fn path_column(name: &str, ty: &str, path: &str) -> ColumnConfig {
    column(name, ty, ColumnSource::Path(path.into()))
}

pub(super) fn doc_key() -> ColumnConfig {
    ColumnConfig {
        nullable: false,
        ..column("_doc", "VARCHAR(128)", ColumnSource::Meta(MetaSource::Key))
    }
}

fn compile(columns: Vec<ColumnConfig>) -> Result<Mapping, MappingError> {
    let mut all = vec![doc_key()];
    all.extend(columns);
    compile_with(vec!["_doc".into()], all)
}

fn compile_with(primary_key: Vec<String>, columns: Vec<ColumnConfig>) -> Result<Mapping, MappingError> {
    compile_table(plain_table(primary_key, columns))
}

pub(super) fn plain_table(primary_key: Vec<String>, columns: Vec<ColumnConfig>) -> TableConfig {
    TableConfig {
        entry: "t".into(),
        database: "db".into(),
        table: "t".into(),
        primary_key,
        columns,
        explode: None,
        filter: None,
        deletes: Default::default(),
        on_reject: Default::default(),
    }
}

pub(super) fn compile_table(table: TableConfig) -> Result<Mapping, MappingError> {
    let dataset = DatasetConfig {
        format_version: 1,
        digest: String::new(),
        name: "orders".into(),
        tenant: "acme".into(),
        topic: TopicConfig {
            name: "acme.shop.orders".into(),
            partitions: 1,
            generation: 1,
        },
        mapping_generation: 1,
        tables: vec![table.clone()],
    };
    Mapping::compile(&dataset, &table)
}

pub(super) fn event<'a>(key: &'a str, document: Option<&'a str>) -> Event<'a> {
    Event {
        tenant: "acme",
        dataset: "orders",
        key: key.as_bytes(),
        op: if document.is_some() {
            Op::Create
        } else {
            Op::Delete
        },
        change: if document.is_some() {
            Change::Upsert
        } else {
            Change::Delete
        },
        document: crate::json::Text::plain(document.unwrap_or("").as_bytes()),
        source_ts_ms: Some(1_704_164_645_678),
        topic: "acme.shop.orders",
        partition: 3,
        offset: 41,
        ver: 99,
    }
}

fn shape(mapping: &Mapping, event: &Event<'_>) -> Result<(Value, Shaped), Refused> {
    let mut out = b"kept".to_vec();
    let result = mapping.shape(event, &mut Scratch::default(), &mut out);
    assert!(out.starts_with(b"kept"));
    match result {
        Ok(shaped) => Ok((
            serde_json::from_slice(&out[4..])
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out))),
            shaped,
        )),
        Err(error) => {
            assert_eq!(out, b"kept", "a refused event leaves nothing behind");
            Err(error)
        }
    }
}

fn row(mapping: &Mapping, document: &str) -> Value {
    shape(mapping, &event("1", Some(document))).unwrap().0
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../testdata/conversion-vectors.json")).unwrap()
}

#[test]
fn the_conversion_table() {
    for vector in vectors()["columns"].as_array().unwrap() {
        let value = vector["value"].as_str().unwrap();
        let mapping = compile(vec![path_column("c", vector["type"].as_str().unwrap(), "v")]).unwrap();
        let (row, shaped) = shape(
            &mapping,
            &event("1", Some(&format!("{{\"_id\": 1,\"v\": {value}}}"))),
        )
        .unwrap();
        match vector.get("unfit") {
            Some(type_name) => {
                assert_eq!(row["c"], Value::Null, "{vector}");
                assert_eq!(row["_extra"]["v"]["t"], *type_name, "{vector}");
                assert_eq!(shaped.overflowed, 1);
            }
            None => {
                assert_eq!(row["c"], vector["becomes"], "{vector}");
                assert_eq!(row.get("_extra"), None, "{vector}");
            }
        }
    }
}

#[test]
fn typed_ids_come_from_the_key() {
    for vector in vectors()["ids"].as_array().unwrap() {
        let bson: BsonType = serde_json::from_value(vector["bson"].clone()).unwrap();
        let id = ColumnConfig {
            bson: Some(bson),
            nullable: false,
            ..path_column("id", vector["type"].as_str().unwrap(), "_id")
        };
        let mapping = compile_with(vec!["id".into()], vec![id]).unwrap();
        let key = vector["key"].as_str().unwrap();
        let upsert = shape(&mapping, &event(key, Some("{}")));
        let delete = shape(&mapping, &event(key, None));
        if vector.get("refused").is_some() {
            assert!(matches!(upsert, Err(Refused::Key { .. })), "{vector}");
            assert!(matches!(delete, Err(Refused::Key { .. })), "{vector}");
        } else {
            let (upsert, delete) = (upsert.unwrap().0, delete.unwrap().0);
            assert_eq!(upsert["id"], vector["becomes"], "{vector}");
            assert_eq!(
                delete,
                json!({"id": vector["becomes"], "__op": 1, "_ver": 99}),
                "{vector}"
            );
        }
    }
}

#[test]
fn the_real_mixed_document() {
    let document = r#"{"_id": {"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"},"i64": {"$numberLong": "9007199254740993"},"nan": NaN,"date": {"$date": 1704164645678},"arr": [1,"two",{"x": {"$numberLong": "3"}}],"sub": {"a": {"b": "c"}},"str": "hé \"q\" \n \u2028 \ud83d\ude00"}"#;
    let mapping = compile(vec![
        path_column("i64", "BIGINT", "i64"),
        path_column("at", "DATETIME", "date"),
        path_column("second", "VARCHAR(9)", "arr[1]"),
        path_column("deep", "VARCHAR(9)", "sub.a.b"),
        path_column("text", "VARCHAR(99)", "str"),
        path_column("gone", "BIGINT", "gone"),
    ])
    .unwrap();
    assert_eq!(
        row(&mapping, document),
        json!({"_doc": "1", "__op": 0, "_ver": 99, "i64": 9007199254740993i64, "at": "2024-01-02 03:04:05.678",
            "second": "two", "deep": "c", "text": "hé \"q\" \n \u{2028} 😀", "gone": null,
            "_extra": {"nan": {"v": {"$numberDouble": "NaN"}, "t": "double"}, "arr[0]": {"v": 1, "t": "int"},
                "arr[2]": {"v": {"x": 3}, "t": "object"}}})
    );
}

#[test]
fn what_needs_no_document() {
    let meta = |name: &str, ty: &str, source| column(name, ty, ColumnSource::Meta(source));
    let mapping = compile(vec![
        meta("tenant", "VARCHAR(40)", MetaSource::Tenant),
        meta("dataset", "VARCHAR(40)", MetaSource::Dataset),
        meta("op", "VARCHAR(1)", MetaSource::Op),
        meta("day", "DATE", MetaSource::KeyTime),
        meta("event_at", "DATETIME", MetaSource::SourceTs),
        meta("topic", "VARCHAR(99)", MetaSource::Topic),
        meta("part", "INT", MetaSource::Partition),
        meta("off", "BIGINT", MetaSource::Offset),
        column("const", "DECIMAL(4,2)", ColumnSource::Value("1.50".into())),
    ])
    .unwrap();
    let key = r#"{"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"}"#;
    let (row, shaped) = shape(&mapping, &event(key, Some("{}"))).unwrap();
    assert_eq!(
        row,
        json!({"_doc": key, "__op": 0, "_ver": 99, "tenant": "acme", "dataset": "orders", "op": "c", "day": "2023-07-19",
            "event_at": "2024-01-02 03:04:05.678", "topic": "acme.shop.orders", "part": 3, "off": 41, "const": "1.5"})
    );
    assert_eq!(
        shaped.key_len,
        r#"{"_doc":"{\"$oid\": \"64b7f0a1c2d3e4f5a6b7c8d9\"}""#.len()
    );
}

#[test]
fn defaults_are_for_absent_and_null_only() {
    let with_default = ColumnConfig {
        default: Some("5".into()),
        ..path_column("n", "INT", "n")
    };
    let mapping = compile(vec![with_default]).unwrap();
    assert_eq!(row(&mapping, "{}")["n"], 5);
    assert_eq!(row(&mapping, r#"{"n": null}"#)["n"], 5);
    assert_eq!(row(&mapping, r#"{"n": 6}"#)["n"], 6);
    assert_eq!(row(&mapping, r#"{"n": "x"}"#)["n"], Value::Null);
}

#[test]
fn on_error_decides() {
    let with = |on_error| {
        compile(vec![ColumnConfig {
            on_error,
            ..path_column("n", "INT", "n")
        }])
        .unwrap()
    };
    let set_null = row(&with(OnError::SetNull), r#"{"n": "x"}"#);
    assert_eq!(set_null, json!({"_doc": "1", "__op": 0, "_ver": 99, "n": null}));
    let refused = shape(&with(OnError::Reject), &event("1", Some(r#"{"n": "x"}"#))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "column n: a string at n does not fit INT and onError is Reject"
    );
}

#[test]
fn not_null_columns_refuse_nothing_and_are_filled_in_deletes() {
    let required = ColumnConfig {
        nullable: false,
        ..path_column("n", "INT", "n")
    };
    let mapping = compile(vec![required]).unwrap();
    for document in ["{}", r#"{"n": null}"#, r#"{"n": "x"}"#] {
        let refused = shape(&mapping, &event("1", Some(document)));
        assert!(matches!(refused, Err(Refused::NotNull { .. })), "{document}");
    }
    let (delete, _) = shape(&mapping, &event("1", None)).unwrap();
    assert_eq!(delete, json!({"_doc": "1", "__op": 1, "_ver": 99, "n": 0}));
}

#[test]
fn extra_is_bounded_and_says_where_the_rest_is() {
    let mapping = compile(vec![]).unwrap();
    let big = "x".repeat(EXTRA_MAX_BYTES);
    let document = format!(r#"{{"small": 1,"big": "{big}","after": 2}}"#);
    let (row, shaped) = shape(&mapping, &event("1", Some(&document))).unwrap();
    assert!(shaped.truncated);
    assert_eq!(
        row["_extra"],
        json!({"small": {"v": 1, "t": "int"}, "after": {"v": 2, "t": "int"},
            "$truncated": {"topic": "acme.shop.orders", "partition": 3, "offset": 41}})
    );
}

#[test]
fn odd_names_and_duplicates_are_kept_apart() {
    let mapping = compile(vec![
        path_column("a", "INT", "a"),
        path_column("odd", "INT", r#"x["y.z"]"#),
    ])
    .unwrap();
    assert_eq!(
        row(
            &mapping,
            r#"{"a": 1,"a": 2,"x": {"y.z": 3,"y": {"z": 4}},"$d": 5,"q\"": 6}"#
        ),
        json!({"_doc": "1", "__op": 0, "_ver": 99, "a": 1, "odd": 3, "_extra": {"a": {"v": 2, "t": "int"},
            "x.y": {"v": {"z": 4}, "t": "object"}, "[\"$d\"]": {"v": 5, "t": "int"}, "[\"q\\\"\"]": {"v": 6, "t": "int"}}})
    );
}

#[test]
fn a_whole_and_its_part_may_both_be_columns() {
    let mapping = compile(vec![
        path_column("address", "JSON", "address"),
        path_column("city", "VARCHAR(9)", "address.city"),
    ])
    .unwrap();
    assert_eq!(
        row(&mapping, r#"{"address": {"city": "Bonn","zip": 1}}"#),
        json!({"_doc": "1", "__op": 0, "_ver": 99, "address": {"city": "Bonn", "zip": 1}, "city": "Bonn"})
    );
    // The part is missing because the whole is something else: the whole is in its column all the same.
    assert_eq!(row(&mapping, r#"{"address": "none"}"#)["address"], "none");
}

#[test]
fn mappings_that_cannot_work_are_refused() {
    let mutable_key = compile_with(
        vec!["region".into()],
        vec![path_column("region", "VARCHAR(9)", "region")],
    );
    assert!(matches!(mutable_key, Err(MappingError::NoDocument { .. })));
    let untyped_id = compile_with(vec!["id".into()], vec![path_column("id", "VARCHAR(9)", "_id")]);
    assert!(matches!(untyped_id, Err(MappingError::NoDocument { .. })));
    assert!(matches!(
        compile_with(vec![], vec![]),
        Err(MappingError::NoKey { .. })
    ));
    assert!(matches!(
        compile_with(vec!["x".into()], vec![]),
        Err(MappingError::KeyNotDeclared { .. })
    ));
    let double_key = column("k", "DOUBLE", ColumnSource::Value("1.5".into()));
    assert!(matches!(
        compile_with(vec!["k".into()], vec![double_key]),
        Err(MappingError::KeyType { .. })
    ));
    let bad_default = ColumnConfig {
        default: Some("x".into()),
        ..path_column("n", "INT", "n")
    };
    assert!(matches!(
        compile(vec![bad_default]),
        Err(MappingError::Column { .. })
    ));
    assert!(matches!(
        compile(vec![path_column("n", "INT", "a..b")]),
        Err(MappingError::Column { .. })
    ));
    let misplaced = column("o", "INT", ColumnSource::Meta(MetaSource::Op));
    assert!(matches!(
        compile(vec![misplaced]),
        Err(MappingError::Column { .. })
    ));
}

#[test]
fn broken_documents_are_refused_not_guessed() {
    let mapping = compile(vec![path_column("n", "INT", "n")]).unwrap();
    for document in [
        "",
        "7",
        "[1]",
        r#"{"n": 1"#,
        r#"{"n": 1}x"#,
        r#"{"x": {"y": }}"#,
        r#"{"x": "\ud83d"}"#,
        r#"{"n": 1-2}"#,
    ] {
        assert!(
            matches!(
                shape(&mapping, &event("1", Some(document))),
                Err(Refused::Document(_))
            ),
            "{document}"
        );
    }
}

// --- the path tree against a naive implementation over a parsed document ---

fn arbitrary_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..300).prop_map(Value::from),
        "[a-c]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn arbitrary_path() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        "[abc]".prop_map(|n| format!(".{n}")),
        (0usize..3).prop_map(|i| format!("[{i}]"))
    ];
    ("[abc]", proptest::collection::vec(step, 0..3)).prop_map(|(first, rest)| first + &rest.concat())
}

/// Looks a path up, one column at a time, in the parsed document.
fn naive<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    path::parse(path)
        .unwrap()
        .iter()
        .try_fold(document, |at, step| match step {
            path::Step::Name(name) => at.as_object()?.get(name),
            path::Step::Index(index) => at.as_array()?.get(*index),
        })
}

fn naive_convert(value: Option<&Value>, ty: &str) -> Value {
    match (ty, value) {
        ("TINYINT", Some(Value::Number(n))) if n.as_i64().is_some_and(|n| i8::try_from(n).is_ok()) => {
            n.clone().into()
        }
        ("VARCHAR(3)", Some(Value::String(s))) if s.len() <= 3 => s.clone().into(),
        ("JSON", Some(value)) => value.clone(),
        _ => Value::Null,
    }
}

/// Every leaf of the document, by path.
fn leaves(value: &Value, at: &mut String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(name, value)| {
            let len = at.len();
            path::push_name(at, name);
            leaves(value, at, out);
            at.truncate(len);
        }),
        Value::Array(items) if !items.is_empty() => items.iter().enumerate().for_each(|(i, value)| {
            let len = at.len();
            path::push_index(at, i);
            leaves(value, at, out);
            at.truncate(len);
        }),
        _ => out.push(at.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tree_agrees_with_looking_each_path_up(
        fields in proptest::collection::btree_map("[abc]", arbitrary_value(), 0..4),
        columns in proptest::collection::btree_map(arbitrary_path(), prop_oneof![Just("TINYINT"), Just("VARCHAR(3)"), Just("JSON")], 0..6),
    ) {
        let document = Value::Object(fields.into_iter().collect());
        let configs = columns.iter().map(|(path, ty)| path_column(&format!("col {path}"), ty, path)).collect();
        let mapping = compile(configs).unwrap();
        let row = row(&mapping, &document.to_string());
        for (path, ty) in &columns {
            prop_assert_eq!(&row[format!("col {path}")], &naive_convert(naive(&document, path), ty), "{} in {}", path, document);
        }
        // Nothing is lost: every leaf is in a column that took it, or in `_extra`, under its path or a prefix of it.
        let mut all = Vec::new();
        leaves(&document, &mut String::new(), &mut all);
        for leaf in all.iter().filter(|leaf| !leaf.is_empty()) {
            let value = naive(&document, leaf).unwrap();
            let stands_at = |path: &str| leaf == path || leaf.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
            let in_column = columns.iter().any(|(path, _)| stands_at(path)
                && (value.is_null() || row[format!("col {path}")] == *naive(&document, path).unwrap()));
            let in_extra = row["_extra"].as_object().is_some_and(|extra| extra.iter().any(|(path, kept)|
                stands_at(path) && kept["v"] == *naive(&document, path).unwrap()));
            prop_assert!(in_column || in_extra, "{} of {} is lost in {}", leaf, document, row);
        }
    }
}

#[derive(serde::Deserialize)]
struct LiteralVector {
    text: String,
    #[serde(rename = "type")]
    column_type: tributary_crds::column::ColumnType,
    json: Option<Value>,
}

/// The same value, however many zeros it is written with.
fn same(ty: &tributary_crds::column::ColumnType, a: &Option<Value>, b: &Option<Value>) -> bool {
    use tributary_crds::column::ColumnType as T;
    let number = |value: &Option<Value>| match value {
        Some(Value::String(text)) => text.parse::<f64>().ok(),
        value => value.as_ref().and_then(Value::as_f64),
    };
    match ty {
        T::Double | T::Float | T::Decimal { .. } => number(a) == number(b) && a.is_some() == b.is_some(),
        _ => a == b,
    }
}

/// What the operator accepts as a constant is what the relay writes, and what it refuses the relay refuses.
#[test]
fn literals_are_those_of_the_shared_vectors() {
    let text = include_str!("../../../crds/testdata/literal-vectors.json");
    let vectors: Vec<LiteralVector> = serde_json::from_str(text).expect("vectors");
    let mut wrong = Vec::new();
    for vector in &vectors {
        let written = convert::literal(&vector.text, &vector.column_type);
        let read = written
            .as_ref()
            .ok()
            .map(|bytes| serde_json::from_slice::<Value>(bytes).expect("JSON"));
        if !same(&vector.column_type, &read, &vector.json) {
            wrong.push(format!(
                "{:?} as {}: {written:?}, not {:?}",
                vector.text, vector.column_type, vector.json
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
