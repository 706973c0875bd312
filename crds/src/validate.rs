//! The API server's rules and the rules beyond CEL, without a cluster: what `kubectl apply` and the operator would say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, ValidationErrors, Validator, compile_schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::effective::effective;
use crate::mapping::{FieldError, TableOrigin, compile_dataset, compile_table};
use crate::relay::TopicConfig;
use crate::shape::Shape;
use crate::{DataPlatform, StarRocksTable, TenantPipeline, crd};

/// By kind, as installed; compiled once, because parsing a rule costs far more than evaluating it.
static SCHEMAS: LazyLock<BTreeMap<String, CompiledSchema>> = LazyLock::new(|| {
    crd::all()
        .iter()
        .map(|definition| {
            (
                definition.spec.names.kind.clone(),
                compile_schema(&crd::schema(definition)),
            )
        })
        .collect()
});

/// By kind: the same schemas before they are compiled, for what comes before the rules.
static SHAPES: LazyLock<BTreeMap<String, Shape>> = LazyLock::new(|| {
    crd::all()
        .iter()
        .map(|definition| {
            (
                definition.spec.names.kind.clone(),
                Shape::of_kind(&crd::schema(definition)),
            )
        })
        .collect()
});

/// What the API server checks of an object before any rule: types, patterns, lengths, enums, required and unknown fields.
pub fn shape(kind: &str, object: &Value) -> Vec<FieldError> {
    match SHAPES.get(kind) {
        Some(shape) => shape.check(object),
        None => unknown_kind(kind),
    }
}

fn unknown_kind(kind: &str) -> Vec<FieldError> {
    let message = format!("{kind:?} is not a kind of {}/{}", crate::GROUP, crate::VERSION);
    vec![FieldError::new("kind", message)]
}

/// Evaluates a kind's CEL rules on an object as written; with `old`, its transition rules too.
/// Fields are named by position, as the API server does: `spec.datasets[0].hot.tables[1]`.
pub fn cel(kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(schema) = SCHEMAS.get(kind) else {
        return unknown_kind(kind);
    };
    Validator::new()
        .validate_compiled(schema, object, old)
        .map_err(ValidationErrors::into_vec)
        .err()
        .into_iter()
        .flatten()
        .map(|error| FieldError::new(error.field_path, error.message))
        .collect()
}

/// Everything that can be said about one object alone. A pipeline is judged with a platform that sets nothing; its
/// `tableRef`s are not followed.
pub fn object(object: &Value) -> Vec<FieldError> {
    let kind = object["kind"].as_str().unwrap_or_default();
    // In this order: a rule says nothing sensible about an object of another shape.
    for check in [shape, rules] {
        let found = check(kind, object);
        if !found.is_empty() {
            return found;
        }
    }
    match kind {
        "TenantPipeline" => typed(object, pipeline),
        "StarRocksTable" => typed(object, table),
        _ => typed(object, |_: &DataPlatform| vec![]),
    }
}

fn rules(kind: &str, object: &Value) -> Vec<FieldError> {
    cel(kind, object, None)
}

fn typed<T: DeserializeOwned>(object: &Value, judge: impl Fn(&T) -> Vec<FieldError>) -> Vec<FieldError> {
    match serde_json::from_value(object.clone()) {
        Ok(object) => judge(&object),
        Err(error) => vec![FieldError::new("", error)],
    }
}

/// The rules beyond CEL of a StarRocksTable.
pub fn table(table: &StarRocksTable) -> Vec<FieldError> {
    let name = table.metadata.name.as_deref().unwrap_or_default();
    compile_table(&table.spec, name, TableOrigin::Object)
        .err()
        .unwrap_or_default()
}

/// The rules beyond CEL of a TenantPipeline, its own tables included.
pub fn pipeline(pipeline: &TenantPipeline) -> Vec<FieldError> {
    let mut effective = match effective(&DataPlatform::default(), pipeline) {
        Ok(effective) => effective,
        Err(errors) => return errors,
    };
    for dataset in &mut effective.datasets {
        // What they refer to is not at hand.
        dataset
            .tables
            .retain(|t| matches!(t, crate::effective::EffectiveTable::Own { .. }));
    }
    let compile = |dataset| {
        let topic = TopicConfig {
            name: String::new(),
            partitions: 1,
            generation: 1,
        };
        compile_dataset(&effective, dataset, &Default::default(), topic, 1)
            .err()
            .unwrap_or_default()
    };
    effective.datasets.iter().flat_map(compile).collect()
}
