use std::sync::Arc;

use serde_json::json;
use tributary_crds::{StarRocksTable, TenantPipeline};

use super::*;
use crate::guard::Guard;
use crate::ledger::Entry;
use crate::pipeline::dereference::{Referenced, ReferencedTable};
use crate::pipeline::fixtures;
use crate::pipeline::validate::validate;

fn shared(key: &[&str]) -> StarRocksTable {
    let mut columns = vec![
        json!({"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"}),
        json!({"name": "tenant", "type": "VARCHAR(40)", "from": "$tenant"}),
    ];
    if key.contains(&"dataset") {
        columns.push(json!({"name": "dataset", "type": "VARCHAR(40)", "from": "$dataset"}));
    }
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
        "metadata": {"name": "orders", "namespace": "tenant-acme"},
        "spec": {"platformRef": {"name": "main", "namespace": "tributary"}, "database": "shop",
            "primaryKey": key, "columns": columns},
    }))
    .expect("a table")
}

/// A pipeline that writes collection `dataset` into the shared table.
fn writer(name: &str, dataset: &str, table: &StarRocksTable) -> Accepted {
    let mut object = serde_json::to_value(fixtures::pipeline()).expect("JSON");
    object["metadata"]["name"] = json!(name);
    object["spec"]["source"]["mongodb"]["topicPrefix"] = json!(name);
    object["spec"]["source"]["mongodb"]["database"] = json!(format!("shop_{name}"));
    object["spec"]["datasets"] =
        json!([{"name": dataset, "hot": {"tables": [{"name": "orders", "tableRef": {"name": "orders"}}]}}]);
    let pipeline: TenantPipeline = serde_json::from_value(object).expect("a pipeline");
    let refs = Referenced {
        tables: BTreeMap::from([(
            "tenant-acme/orders".to_owned(),
            ReferencedTable {
                table: Arc::new(table.clone()),
            },
        )]),
        ..fixtures::refs()
    };
    validate(&Arc::new(pipeline), &refs).unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn recorded(accepted: &Accepted) -> State {
    let mut entry = Entry::default();
    refresh(&mut entry, accepted, &BTreeMap::new());
    let mut state = State::default();
    let id = identity(&accepted.effective.owner);
    for change in state.record(&id, &entry, false).expect("free") {
        state.fold(1, change);
    }
    state
}

/// Rule 3: two writers of one tenant's rows in a table whose key does not tell their collections apart.
fn one_tenants_rows_have_one_writer() -> Result<(), String> {
    let table = shared(&["tenant", "order_id"]);
    let (first, second) = (
        writer("first", "orders", &table),
        writer("second", "orders", &table),
    );
    let state = recorded(&first);
    judge(&state, &first).map_err(|conflict| format!("its own claim stands in its way: {conflict}"))?;
    match judge(&state, &second) {
        Ok(_) => Err("two pipelines write the same rows".to_owned()),
        Err(conflict) => {
            let refused = refused(&second, &conflict);
            assert_eq!(refused.reason, R::TableConflict);
            assert!(
                refused.message.contains("TenantPipeline first"),
                "{}",
                refused.message
            );
            Ok(())
        }
    }
}

#[test]
fn rule_3() {
    one_tenants_rows_have_one_writer().unwrap();
}

#[test]
fn rule_3_is_broken_without_its_guard() {
    Guard::OneWriterPerRow.assert_red("pipeline::claims::tests::rule_3");
}

#[test]
fn a_key_with_the_dataset_lets_two_datasets_in() {
    let table = shared(&["tenant", "dataset", "order_id"]);
    let state = recorded(&writer("first", "orders", &table));
    assert!(judge(&state, &writer("second", "returns", &table)).is_ok());
    assert!(judge(&state, &writer("second", "orders", &table)).is_err());
}
