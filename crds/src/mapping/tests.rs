use serde_json::{Value, json};

use super::*;
use crate::effective::effective;
use crate::mapping::KeyIdentity;
use crate::relay::OnError;
use crate::{DataPlatform, StarRocksTable, TenantPipeline};

fn table(spec: Value) -> Result<CompiledTable, Vec<FieldError>> {
    let mut spec = spec;
    spec["database"] = json!("shop");
    let spec = serde_json::from_value(spec).expect("a spec");
    compile_table(&spec, "acme.orders", TableOrigin::Object)
}

/// The first error of a table with this second column beside a sound key.
fn column_error(column: Value) -> String {
    let spec = json!({
        "primaryKey": ["id"],
        "columns": [{"name": "id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"}, column],
    });
    table(spec)
        .map(|_| "no error".to_owned())
        .unwrap_or_else(|e| e[0].to_string())
}

/// The first error of a table with these key columns.
fn key_error(columns: Value) -> String {
    let names: Vec<_> = columns
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    let spec = json!({"primaryKey": names, "columns": columns});
    table(spec)
        .map(|_| "no error".to_owned())
        .unwrap_or_else(|e| e[0].to_string())
}

fn pipeline(datasets: Value) -> EffectivePipeline {
    let pipeline: TenantPipeline = serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
        "metadata": {"name": "acme", "namespace": "tenant-acme"},
        "spec": {
            "platformRef": {"name": "main", "namespace": "tributary"}, "tenant": "acme",
            "source": {"mongodb": {"connectionSecretRef": {"name": "s", "key": "uri"}, "database": "shop"}},
            "datasets": datasets,
        },
    }))
    .expect("a pipeline");
    effective(&DataPlatform::default(), &pipeline).expect("an effective pipeline")
}

fn compiled(pipeline: &EffectivePipeline, dataset: usize, shared: &Value) -> Result<DatasetConfig, String> {
    let spec: StarRocksTable = serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable", "metadata": {}, "spec": shared,
    }))
    .expect("a table");
    let dataset = &pipeline.datasets[dataset];
    let referenced = dataset
        .tables
        .iter()
        .map(|t| (t.entry().to_owned(), ("orders".to_owned(), spec.spec.clone())))
        .collect();
    let topic = TopicConfig {
        name: dataset.topic.clone(),
        partitions: 6,
        generation: 1,
    };
    compile_dataset(pipeline, dataset, &referenced, topic, 3).map_err(|e| crate::mapping::summary(&e))
}

fn shared_table() -> Value {
    json!({
        "database": "shop", "table": "orders", "primaryKey": ["tenant", "order_id"],
        "allowedNamespaces": {"from": "All"},
        "columns": [
            {"name": "status", "type": "VARCHAR(8)", "default": "new"},
            {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
            {"name": "tenant", "type": "VARCHAR(40)", "from": "$tenant"},
        ],
    })
}

#[test]
fn key_columns_come_first_and_cannot_be_null() {
    let compiled = table(json!({
        "primaryKey": ["b", "a"],
        "columns": [
            {"name": "x", "type": "INT"},
            {"name": "a", "type": "BIGINT", "from": "_id", "bson": "Int"},
            {"name": "b", "type": "VARCHAR(9)", "from": "$tenant"},
        ],
    }))
    .unwrap();
    let seen: Vec<_> = compiled
        .columns
        .iter()
        .map(|c| (c.config.name.as_str(), c.config.nullable, c.config.on_error))
        .collect();
    assert_eq!(
        seen,
        [
            ("b", false, OnError::Reject),
            ("a", false, OnError::Reject),
            ("x", true, OnError::Overflow)
        ]
    );
    assert_eq!(compiled.table, "acme_orders", "named after the object");
    assert_eq!(compiled.columns[2].config.source, ColumnSource::Path("x".into()));
    assert_eq!(
        compiled.key,
        KeyIdentity {
            document: true,
            tenant: true,
            dataset: false,
            element: false,
        }
    );
}

#[test]
fn a_column_without_from_takes_the_field_of_its_very_name() {
    let compiled = table(json!({
        "primaryKey": ["id"],
        "columns": [
            {"name": "id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
            {"name": "odd.name", "type": "INT"},
        ],
    }))
    .unwrap();
    assert_eq!(
        compiled.columns[1].config.source,
        ColumnSource::Path("[\"odd.name\"]".into())
    );
}

#[test]
fn errors_name_the_column_and_its_field() {
    for (column, says) in [
        (json!({"name": "a"}), "columns[a].type: is required"),
        (
            json!({"name": "_VER", "type": "INT"}),
            "columns[_VER].name: reserved column name",
        ),
        (json!({"name": "__v", "type": "INT"}), "no error"),
        (
            json!({"name": "a", "type": "MONEY"}),
            "columns[a].type: unknown column type \"MONEY\"",
        ),
        (
            json!({"name": "a", "type": "INT", "from": "x..y"}),
            "columns[a].from: '.' is not expected at position 2",
        ),
        (
            json!({"name": "a", "type": "INT", "from": "$nope"}),
            "columns[a].from: unknown source \"$nope\"",
        ),
        (
            json!({"name": "a", "type": "INT", "from": "$tenant"}),
            "columns[a].type: $tenant needs a column of type VARCHAR(n), not INT",
        ),
        (
            json!({"name": "a", "type": "INT", "value": "x"}),
            "columns[a].value: \"x\" is not a INT",
        ),
        (
            json!({"name": "a", "type": "INT", "default": "1.5"}),
            "columns[a].default: \"1.5\" is not a INT",
        ),
        (
            json!({"name": "a", "type": "INT", "bson": "Int"}),
            "columns[a].bson: belongs to from: _id",
        ),
        (
            json!({"name": "a", "type": "INT", "nullability": "NotNull"}),
            "columns[a].nullability: a column from a path must be Nullable",
        ),
        (
            json!({"name": "ID", "type": "INT"}),
            "columns[ID].name: column names must differ in more than case",
        ),
        (
            json!({"name": "a", "type": "DATETIME", "from": "$source.ts", "nullability": "NotNull"}),
            "no error",
        ),
        (json!({"name": "a", "type": "JSON", "from": "_id"}), "no error"),
    ] {
        let error = column_error(column);
        assert!(error.starts_with(says), "wanted {says}\nfound  {error}");
    }
}

#[test]
fn a_key_that_does_not_determine_the_document_is_refused() {
    for (columns, says) in [
        (
            json!([{"name": "email", "type": "VARCHAR(99)"}]),
            "primaryKey: must determine the document: add a column with from: _id and its bson type, or the key column _doc",
        ),
        (
            json!([{"name": "t", "type": "VARCHAR(9)", "from": "$tenant"}]),
            "primaryKey: must determine the document",
        ),
        (
            json!([{"name": "o", "type": "BIGINT", "from": "$offset"}]),
            "columns[o].from: $offset changes with every event",
        ),
        (
            json!([{"name": "i", "type": "VARCHAR(24)", "from": "_id"}]),
            "columns[i].from: a key column with from: _id declares bson",
        ),
        // Two ids of one day, or of one prefix, would meet in one row.
        (
            json!([{"name": "i", "type": "DATE", "from": "_id", "bson": "Date"}]),
            "columns[i].from: bson: Date needs a column of type DATETIME",
        ),
        (
            json!([{"name": "i", "type": "VARCHAR(12)", "from": "_id", "bson": "ObjectId"}]),
            "columns[i].from: bson: ObjectId needs a column of type VARCHAR(24)",
        ),
        (
            json!([{"name": "i", "type": "DOUBLE", "from": "_id", "bson": "Int"}]),
            "columns[i].type: StarRocks takes no DOUBLE in a primary key",
        ),
        (
            json!([{"name": "r", "type": "VARCHAR(9)", "from": "_id.region"}]),
            "primaryKey: must determine the document",
        ),
        (
            json!([{"name": "i", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId", "default": "x"}]),
            "columns[i].default: a key column takes no default",
        ),
        (
            json!([{"name": "i", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId", "onError": "SetNull"}]),
            "columns[i].onError: a key column cannot store NULL",
        ),
        (
            json!([{"name": "k", "type": "VARCHAR(128)", "from": "$key"}, {"name": "d", "type": "DATE", "from": "$key.time"}]),
            "no error",
        ),
    ] {
        let error = key_error(columns);
        assert!(error.starts_with(says), "wanted {says}\nfound  {error}");
    }
}

fn exploded(key: Value, columns: Value) -> Result<CompiledTable, Vec<FieldError>> {
    table(json!({"primaryKey": key, "rows": {"explode": "items"}, "columns": columns}))
}

#[test]
fn elements_of_an_array_become_rows_that_lie_with_their_document() {
    let compiled = exploded(
        json!(["_doc", "line_no"]),
        json!([
            {"name": "net", "type": "BIGINT", "expr": "element.qty * element.price"},
            {"name": "line_no", "type": "INT", "from": "$ordinal"},
            {"name": "sku", "type": "VARCHAR(64)", "from": "$element.sku"},
            {"name": "at", "type": "DATETIME", "from": "placedAt"},
        ]),
    )
    .unwrap();
    let config = compiled.clone().into_config("lines");
    let seen: Vec<_> = config
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.source.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            ("_doc", ColumnSource::Meta(MetaSource::Key)),
            ("line_no", ColumnSource::Meta(MetaSource::Ordinal)),
            ("net", ColumnSource::Expr("element.qty * element.price".into())),
            ("sku", ColumnSource::Element("sku".into())),
            ("at", ColumnSource::Path("placedAt".into())),
        ]
    );
    assert_eq!(config.explode.as_ref().map(|e| e.path.as_str()), Some("items"));
    assert!(config.is_own_index());
    assert_eq!(config.doc_column().map(|c| c.name.as_str()), Some("_doc"));
    let distribution = compiled.distribute_by.unwrap();
    assert_eq!(
        (distribution.columns, distribution.buckets),
        (vec!["_doc".to_owned()], None)
    );
}

#[test]
fn a_key_may_change_with_its_document_beside_the_documents_identity() {
    let compiled = table(json!({
        "primaryKey": ["region", "id"], "distributeBy": {"columns": ["id"], "buckets": 4},
        "columns": [
            {"name": "id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
            {"name": "region", "type": "VARCHAR(8)"},
        ],
    }))
    .unwrap();
    assert!(compiled.key.document);
    let distribution = compiled.distribute_by.clone().unwrap();
    assert_eq!(
        (distribution.columns, distribution.buckets),
        (vec!["id".to_owned()], Some(4))
    );
    assert!(compiled.into_config("t").is_own_index());
}

#[test]
fn what_cannot_be_exploded_or_found_again_is_refused_by_field() {
    let line = json!({"name": "n", "type": "INT", "from": "$ordinal"});
    let id = json!({"name": "id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"});
    let with = |key: Value, columns: Value| exploded(key, columns).unwrap_err()[0].to_string();
    assert_eq!(
        with(json!(["id"]), json!([id, {"name": "sku", "type": "INT"}])),
        "columns[sku].from: with rows.explode every column says where it comes from"
    );
    assert_eq!(
        with(json!(["id"]), json!([id])),
        "primaryKey: with rows.explode the key tells elements apart: add a column with from: $ordinal or $element.<path>"
    );
    assert!(with(json!(["n"]), json!([line])).starts_with("primaryKey: must determine the document"));
    let mut distributed = json!({
        "primaryKey": ["id", "n"], "rows": {"explode": "items"}, "columns": [id, line],
        "distributeBy": {"columns": ["n"]},
    });
    assert_eq!(
        table(distributed.clone()).unwrap_err()[0].to_string(),
        "distributeBy.columns: rows of this table are found by their document: distribute by [id], or leave distributeBy out"
    );
    distributed["rows"] = json!({"explode": "items[x]"});
    assert!(
        table(distributed).unwrap_err()[0]
            .to_string()
            .starts_with("rows.explode: ")
    );
    for (column, says) in [
        (
            json!({"name": "a", "type": "INT", "from": "$element.x"}),
            "columns[a].from: $element.x exists only where rows.explode",
        ),
        (
            json!({"name": "a", "type": "INT", "expr": "element.x"}),
            "columns[a].expr: ",
        ),
        (
            json!({"name": "a", "type": "INT", "expr": "doc.x +"}),
            "columns[a].expr: ",
        ),
        (json!({"name": "a", "type": "INT", "expr": "doc.x"}), "no error"),
        (
            json!({"name": "a", "type": "INT", "expr": "doc.x", "value": "1"}),
            "columns[a].from: at most one of from, value, expr",
        ),
        (
            json!({"name": "a", "type": "INT", "expr": "doc.x", "nullability": "NotNull"}),
            "columns[a].nullability: a column from a path must be Nullable",
        ),
    ] {
        let error = column_error(column);
        assert!(error.starts_with(says), "wanted {says}\nfound  {error}");
    }
}

#[test]
fn soft_deletes_keep_rows_beside_the_table_that_readers_ask() {
    let mut spec = shared_table();
    spec["deletes"] = json!("Soft");
    let compiled = table(spec.clone()).unwrap();
    assert_eq!(
        (compiled.table.as_str(), compiled.rows_table().as_str()),
        ("orders", "orders__rows")
    );
    assert_eq!(compiled.into_config("t").table, "orders__rows");
    spec["grants"] = json!([{"role": "readers", "privileges": ["EXPORT"]}]);
    let error = table(spec.clone()).unwrap_err()[0].to_string();
    assert!(
        error.starts_with("grants[readers].privileges: with deletes: Soft"),
        "{error}"
    );
    spec["grants"] = json!([{"role": "readers", "privileges": ["SELECT"]}]);
    spec["table"] = json!("t".repeat(59));
    let error = table(spec.clone()).unwrap_err()[0].to_string();
    assert!(error.contains("must be 1 to 58 bytes long"), "{error}");
    spec["table"] = json!("orders");
    spec["columns"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "at", "type": "DATETIME", "from": "$source.ts", "nullability": "NotNull"}));
    let error = table(spec).unwrap_err()[0].to_string();
    assert!(
        error.starts_with("columns[at].nullability: with deletes: Soft"),
        "{error}"
    );
}

#[test]
fn a_key_that_never_fits_is_refused() {
    let error = key_error(json!([
        {"name": "id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
        {"name": "v", "type": "VARCHAR(200)", "value": "x".repeat(120)},
    ]));
    assert_eq!(
        error,
        "primaryKey: every key would have at least 146 bytes, StarRocks takes 128"
    );
}

#[test]
fn a_referenced_tables_rows_are_those_that_owner_and_pipeline_both_want() {
    let entry = |filter: Value| {
        json!([{"name": "orders", "hot": {"tables": [{"name": "t", "tableRef": {"name": "orders"}, "where": filter,
            "columns": [{"name": "status", "expr": "doc.state + '!'"}]}]}}])
    };
    let mut shared = shared_table();
    shared["where"] = json!("doc.a == 1 || doc.b == 2");
    shared["onReject"] = json!("Remove");
    let config = compiled(&pipeline(entry(json!("doc.isTest != true"))), 0, &shared).unwrap();
    let table = &config.tables[0];
    assert_eq!(
        table.filter.as_deref(),
        Some("(doc.a == 1 || doc.b == 2) && (doc.isTest != true)")
    );
    assert_eq!(table.on_reject, crate::relay::OnReject::Remove);
    let status = table.columns.iter().find(|c| c.name == "status").unwrap();
    assert_eq!(status.source, ColumnSource::Expr("doc.state + '!'".into()));
    let error = compiled(&pipeline(entry(json!("doc.isTest !="))), 0, &shared_table()).unwrap_err();
    assert!(
        error.starts_with("datasets[orders].hot.tables[t].where: "),
        "{error}"
    );
}

#[test]
fn partitions_and_buckets_are_key_columns() {
    let with = |field: &str, value: Value| {
        let mut spec = shared_table();
        spec[field] = value;
        table(spec)
            .map(|_| String::new())
            .unwrap_or_else(|e| e[0].to_string())
    };
    assert_eq!(
        with("partitionBy", json!("status")),
        "partitionBy: status is not a column of the primary key"
    );
    assert!(
        with("partitionBy", json!("date_trunc('day', tenant)"))
            .contains("date_trunc needs a DATE or DATETIME")
    );
    assert!(with("partitionBy", json!("DROP TABLE x")).contains("is not understood"));
    assert_eq!(with("partitionBy", json!("tenant")), "");
    assert!(with("distributeBy", json!({"columns": ["status"]})).contains("not a column of the primary key"));
    assert!(
        with("primaryKey", json!(["order_id"]))
            .contains("a shared table needs a key column with from: $tenant")
    );
}

#[test]
fn a_pipeline_may_change_how_a_value_is_obtained_and_nothing_else() {
    let entry = |columns: Value| json!([{"name": "orders", "hot": {"tables": [{"name": "t", "tableRef": {"name": "orders"}, "columns": columns}]}}]);
    let changed = pipeline(entry(json!([{"name": "status", "from": "meta.state"}])));
    let config = compiled(&changed, 0, &shared_table()).unwrap();
    let status = config.tables[0]
        .columns
        .iter()
        .find(|c| c.name == "status")
        .unwrap();
    assert_eq!(status.source, ColumnSource::Path("meta.state".into()));
    assert_eq!(
        status.default.as_deref(),
        Some("new"),
        "the rest stays the table's"
    );
    assert_eq!(config.digest, config.content_digest());
    assert_eq!(
        (config.mapping_generation, config.topic.name.as_str()),
        (3, "acme.shop.orders")
    );
    for (columns, says) in [
        (
            json!([{"name": "tenant", "value": "globex"}]),
            "datasets[orders].hot.tables[t].columns[tenant]: a key column that identifies the row cannot be overridden",
        ),
        (
            json!([{"name": "extra", "value": "1"}]),
            "datasets[orders].hot.tables[t].columns[extra]: the table has no such column",
        ),
        (
            json!([{"name": "status", "from": "$nope"}]),
            "datasets[orders].hot.tables[t].columns[status].from: unknown source",
        ),
        (
            json!([{"name": "status", "value": "far too long"}]),
            "datasets[orders].hot.tables[t].columns[status].value: \"far too long\" is 12 bytes long",
        ),
    ] {
        let error = compiled(&pipeline(entry(columns)), 0, &shared_table()).unwrap_err();
        assert!(error.starts_with(says), "wanted {says}\nfound  {error}");
    }
}

#[test]
fn two_datasets_in_one_table_need_the_dataset_in_the_key() {
    let entry = |name: &str| json!({"name": name, "hot": {"tables": [{"name": "t", "tableRef": {"name": "orders"}}]}});
    let both = pipeline(json!([entry("live"), entry("archive")]));
    let error = compiled(&both, 0, &shared_table()).unwrap_err();
    assert_eq!(
        error,
        "datasets[live].hot.tables[t]: several datasets feed this table: its key needs a column with from: $dataset"
    );
    let mut keyed = shared_table();
    keyed["primaryKey"] = json!(["tenant", "dataset", "order_id"]);
    let columns = keyed["columns"].as_array_mut().expect("columns");
    columns.push(json!({"name": "dataset", "type": "VARCHAR(40)", "from": "$dataset"}));
    assert!(compiled(&both, 0, &keyed).is_ok());
}

#[test]
fn one_table_has_one_maker_and_one_topic_one_dataset() {
    let own = |dataset: &str, collection: &str| {
        json!({"name": dataset, "collection": collection, "hot": {"tables": [{"name": "same", "template": {
            "primaryKey": ["k"], "columns": [{"name": "k", "type": "VARCHAR(99)", "from": "$key"}],
        }}]}})
    };
    let error = compiled(
        &pipeline(json!([own("a", "a"), own("b", "b")])),
        1,
        &shared_table(),
    )
    .unwrap_err();
    assert_eq!(
        error,
        "datasets[b].hot.tables[same]: another entry of this pipeline makes a table of the same name"
    );
    let error = compiled(
        &pipeline(json!([own("a", "x y"), own("b", "x_y")])),
        1,
        &shared_table(),
    )
    .unwrap_err();
    assert!(
        error.starts_with("datasets[b].collection: dataset a already reads topic acme.shop.x_y"),
        "{error}"
    );
}
