//! Rows of tables that are their own index, and of tables that compute.

use serde_json::{Value, json};
use tributary_crds::relay::{ColumnSource, Deletes, Explode, MetaSource, OnError, TableConfig};

use super::tests::{column, compile_table, doc_key, event, path_column, plain_table};
use super::*;

fn expr(name: &str, ty: &str, text: &str) -> tributary_crds::relay::ColumnConfig {
    column(name, ty, ColumnSource::Expr(text.into()))
}

fn element(name: &str, ty: &str, path: &str) -> tributary_crds::relay::ColumnConfig {
    column(name, ty, ColumnSource::Element(path.into()))
}

fn lines() -> TableConfig {
    let mut table = plain_table(
        vec!["_doc".into(), "line_no".into()],
        vec![
            doc_key(),
            column("line_no", "INT", ColumnSource::Meta(MetaSource::Ordinal)),
            element("sku", "VARCHAR(8)", "sku"),
            element("qty", "INT", "qty"),
            expr(
                "net",
                "BIGINT",
                "element.qty * element.price.minor + meta.ordinal",
            ),
            path_column("placed", "DATETIME", "placedAt"),
            expr("size", "INT", "size(doc.items)"),
        ],
    );
    table.explode = Some(Explode { path: "items".into() });
    table
}

fn rows_of(table: TableConfig, document: Option<&str>) -> Result<Vec<(Value, String)>, Refused> {
    let mapping = compile_table(table).unwrap();
    let (mut out, mut spans) = (b"kept".to_vec(), Vec::new());
    let result = mapping.rows(
        &event("7", document),
        &mut Scratch::default(),
        &mut out,
        &mut spans,
    );
    if result.is_err() {
        assert_eq!((&out[..], spans.len()), (&b"kept"[..], 0));
    }
    result?;
    Ok(spans
        .iter()
        .map(|span| {
            let text = String::from_utf8_lossy(&out[span.start..span.end]).into_owned();
            let key = text[..span.key_len].to_owned();
            (
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")),
                key,
            )
        })
        .collect())
}

#[test]
fn one_row_per_element() {
    let document = r#"{"_id": 7,"placedAt": {"$date": 1704164645000},"note": "kept elsewhere","items": [
        {"sku": "a","qty": 2,"price": {"minor": 150},"gift": true},
        {"sku": "much too long","qty": 3},
        5]}"#;
    let rows = rows_of(lines(), Some(document)).unwrap();
    assert_eq!(
        rows[0],
        (
            json!({"_doc": "7", "line_no": 0, "__op": 0, "_ver": 99, "sku": "a", "qty": 2, "net": 300,
                "placed": "2024-01-02 03:04:05", "size": 3,
                "_extra": {"$element.gift": {"v": true, "t": "bool"}, "$element.price": {"v": {"minor": 150}, "t": "object"}}}),
            r#"{"_doc":"7","line_no":0"#.to_owned(),
        )
    );
    // Null times something is null; the element that is no object is a row all the same.
    assert_eq!(rows[1].0["net"], Value::Null);
    assert_eq!(rows[1].0["sku"], Value::Null);
    assert_eq!(
        rows[1].0["_extra"],
        json!({"$element.sku": {"v": "much too long", "t": "string"}})
    );
    assert_eq!(rows[2].0["_extra"], json!({"$element": {"v": 5, "t": "int"}}));
    assert_eq!(rows[2].0["size"], 3);
}

#[test]
fn no_array_no_rows_and_anything_else_is_refused() {
    for document in [
        Some(r#"{"_id": 7}"#),
        Some(r#"{"items": null}"#),
        Some(r#"{"items": []}"#),
        None,
    ] {
        assert_eq!(rows_of(lines(), document), Ok(Vec::new()), "{document:?}");
    }
    assert_eq!(
        rows_of(lines(), Some(r#"{"items": {"a": 1}}"#)),
        Err(Refused::Explode { found: "object" })
    );
}

#[test]
fn keys_may_change_with_the_document() {
    let mut table = plain_table(
        vec!["_doc".into(), "email".into(), "region".into()],
        vec![
            doc_key(),
            path_column("email", "VARCHAR(40)", "email"),
            expr("region", "VARCHAR(8)", "doc.eu == true ? \"eu\" : \"us\""),
            path_column("n", "INT", "n"),
        ],
    );
    table.filter = Some("doc.isTest != true".into());
    let rows = rows_of(
        table.clone(),
        Some(r#"{"_id": 7,"email": "\u00e9@x","eu": true,"n": 1}"#),
    )
    .unwrap();
    assert_eq!(
        rows,
        [(
            json!({"_doc": "7", "email": "é@x", "region": "eu", "__op": 0, "_ver": 99, "n": 1, "_extra": {"eu": {"v": true, "t": "bool"}}}),
            r#"{"_doc":"7","email":"é@x","region":"eu""#.to_owned(),
        )]
    );
    assert_eq!(
        rows_of(table.clone(), Some(r#"{"email": "x","isTest": true}"#)),
        Ok(Vec::new())
    );
    assert!(matches!(
        rows_of(table, Some(r#"{"n": 1}"#)),
        Err(Refused::NotNull { column }) if column == "email"
    ));
}

#[test]
fn where_on_a_key_known_anyway_takes_the_row_away() {
    let mut table = plain_table(vec!["_doc".into()], vec![doc_key(), path_column("n", "INT", "n")]);
    table.filter = Some("doc.n < 5".into());
    let mapping = compile_table(table.clone()).unwrap();
    assert!(mapping.index().is_none());
    let shape = |mapping: &Mapping, document| {
        let mut out = Vec::new();
        mapping
            .shape(&event("7", Some(document)), &mut Scratch::default(), &mut out)
            .map(|_| serde_json::from_slice::<Value>(&out).unwrap())
    };
    assert_eq!(shape(&mapping, r#"{"n": 3}"#).unwrap()["__op"], 0);
    for document in [r#"{"n": 7}"#, r#"{}"#, r#"{"n": null}"#] {
        assert_eq!(
            shape(&mapping, document).unwrap(),
            json!({"_doc": "7", "__op": 1, "_ver": 99}),
            "{document}"
        );
    }
    assert!(matches!(
        shape(&mapping, r#"{"n": "x"}"#),
        Err(Refused::Filter { .. })
    ));
    // A soft delete is a row: it is written only where there is one to delete (correctness rule 10).
    table.deletes = Deletes::Soft;
    let soft = compile_table(table.clone()).unwrap();
    assert!(soft.index().is_some());
    assert!(soft.columns_header().ends_with(",`_deleted`"));
    table.filter = None;
    let soft = compile_table(table).unwrap();
    assert_eq!(
        shape(&soft, r#"{"n": 1}"#).unwrap(),
        json!({"_doc": "7", "_deleted": false, "_ver": 99, "n": 1})
    );
}

#[test]
fn expressions_that_fail_follow_on_error() {
    let shaped = |on_error| {
        let mut failing = expr("e", "INT", "1 / doc.zero");
        failing.on_error = on_error;
        let mapping = compile_table(plain_table(
            vec!["_doc".into()],
            vec![
                doc_key(),
                failing,
                path_column("zero", "INT", "zero"),
                expr("unfit", "INT", "\"x\""),
            ],
        ))
        .unwrap();
        let mut out = Vec::new();
        mapping
            .shape(
                &event("7", Some(r#"{"zero": 0}"#)),
                &mut Scratch::default(),
                &mut out,
            )
            .map(|_| serde_json::from_slice::<Value>(&out).unwrap())
    };
    let row = shaped(OnError::Overflow).unwrap();
    assert_eq!(
        row["_extra"],
        json!({"$expr.e": {"v": "division by zero", "t": "string"}, "$expr.unfit": {"v": "x", "t": "string"}})
    );
    assert_eq!(shaped(OnError::SetNull).unwrap()["e"], Value::Null);
    assert!(matches!(shaped(OnError::Reject), Err(Refused::Expr { .. })));
}

#[test]
fn expressions_read_the_text_of_documents() {
    let document = r#"{"_id": {"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"},"when": {"$date": 1704164645678},"price": {"$numberDecimal": "19.90"},"big": {"$numberLong": "9007199254740993"},"nan": NaN,"tags": ["x","\u00e9"],"in": {"deep": [{"k": 1},{"k": 2.5}]},"o": {"$oid": "64b7f0a1c2d3e4f5a6b7c8d0"}}"#;
    for (ty, text, wanted) in [
        ("BIGINT", "doc.big", json!(9_007_199_254_740_993i64)),
        ("DECIMAL(9,2)", "decimal(doc.price) * 2", json!("39.8")),
        ("DATETIME", "doc.when", json!("2024-01-02 03:04:05.678")),
        ("DOUBLE", "doc[\"in\"].deep[1].k + 1", json!(3.5)),
        ("JSON", "doc[\"in\"]", json!({"deep": [{"k": 1}, {"k": 2.5}]})),
        (
            "JSON",
            "doc.tags.map(t, {\"t\": t})",
            json!([{"t": "x"}, {"t": "é"}]),
        ),
        ("ARRAY<VARCHAR(3)>", "doc.tags + [\"z\"]", json!(["x", "é", "z"])),
        ("VARCHAR(24)", "doc.o", json!("64b7f0a1c2d3e4f5a6b7c8d0")),
        (
            "VARCHAR(40)",
            "string(doc.o) + \"/\" + meta.op",
            json!("64b7f0a1c2d3e4f5a6b7c8d0/c"),
        ),
        ("BOOLEAN", "doc.nan > 0 || doc.nan <= 0", json!(false)),
        ("INT", "key", json!(7)),
        ("VARCHAR(9)", "meta.tenant", json!("acme")),
    ] {
        let mapping = compile_table(plain_table(
            vec!["_doc".into()],
            vec![doc_key(), expr("c", ty, text)],
        ))
        .unwrap();
        let mut out = Vec::new();
        let shaped = mapping
            .shape(&event("7", Some(document)), &mut Scratch::default(), &mut out)
            .unwrap();
        let row: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&row["c"], shaped.overflowed), (&wanted, 0), "{text}: {row}");
    }
}

#[test]
fn a_key_longer_than_starrocks_takes_is_refused() {
    let mapping = compile_table(plain_table(vec!["_doc".into()], vec![doc_key()])).unwrap();
    let shape = |key: &str| mapping.shape(&event(key, None), &mut Scratch::default(), &mut Vec::new());
    assert!(shape(&"1".repeat(128)).is_ok());
    let mut long = plain_table(vec!["_doc".into()], vec![doc_key()]);
    long.columns[0].column_type = tributary_crds::column::ColumnType::Varchar(200);
    let mapping = compile_table(long).unwrap();
    let shape = |key: &str| mapping.shape(&event(key, None), &mut Scratch::default(), &mut Vec::new());
    assert!(shape(&"1".repeat(128)).is_ok());
    assert_eq!(shape(&"1".repeat(129)), Err(Refused::KeyTooLong { bytes: 129 }));
}

#[test]
fn the_question_names_the_tenant_and_only_live_rows() {
    let mut table = lines();
    table.deletes = Deletes::Soft;
    table.primary_key.insert(0, "tenant".into());
    table.columns.push(column(
        "tenant",
        "VARCHAR(40)",
        ColumnSource::Meta(MetaSource::Tenant),
    ));
    let mapping = compile_table(table).unwrap();
    let ids: [&[u8]; 2] = [br#""7""#, br#""it's""#];
    assert_eq!(
        mapping.index().unwrap().select(ids.into_iter()),
        "SELECT `tenant`, `_doc`, `line_no` FROM `db`.`t` WHERE `tenant` = 'acme' AND (`_deleted` IS NULL OR `_deleted` = FALSE) AND `_doc` IN ('7', 'it''s')"
    );
}
