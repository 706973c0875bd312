//! The CustomResourceDefinitions as they are installed: what the derives give, and what they have no place for.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::template::{INLINE_COLUMNS_MAX, STANDALONE_COLUMNS_MAX};
use crate::{DataPlatform, StarRocksTable, TenantPipeline};

/// All kinds, in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        finished(DataPlatform::crd(), STANDALONE_COLUMNS_MAX),
        finished(TenantPipeline::crd(), INLINE_COLUMNS_MAX),
        finished(StarRocksTable::crd(), STANDALONE_COLUMNS_MAX),
    ]
}

/// The definition of one kind.
pub fn of_kind(kind: &str) -> Option<CustomResourceDefinition> {
    all().into_iter().find(|crd| crd.spec.names.kind == kind)
}

/// File name of a definition: `tributary.dev_tenantpipelines.yaml`.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// The definition as YAML, with a line saying where it comes from.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    let text = serde_yaml::to_string(crd)?;
    Ok(format!(
        "# Generated from the Rust types by `cargo run -p tributary-crds --bin crdgen`. Do not edit.\n{text}"
    ))
}

/// The schema of a definition's only version, as JSON.
pub fn schema(crd: &CustomResourceDefinition) -> Value {
    crd.spec
        .versions
        .first()
        .and_then(|v| v.schema.as_ref())
        .and_then(|s| serde_json::to_value(&s.open_api_v3_schema).ok())
        .unwrap_or_default()
}

fn finished(mut crd: CustomResourceDefinition, columns_max: usize) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(validation) = version.schema.as_mut() else {
            continue;
        };
        let mut schema = serde_json::to_value(&validation.open_api_v3_schema).unwrap_or_default();
        each_schema(&mut schema, &mut |node| {
            refuse_null(node);
            // serde's defaults are for reading old objects; what the API server writes into an object, nobody can inherit.
            node.remove("default");
            bound_columns(node, columns_max);
        });
        // A status that was never written must not look healthy to kstatus. The default stands on the whole status:
        // one on the nested field alone never applies to an absent status.
        schema["properties"]["status"]["default"] = json!({"observedGeneration": -1});
        validation.open_api_v3_schema = serde_json::from_value(schema).ok();
    }
    crd
}

/// Visits a schema and every schema in it.
fn each_schema(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(node) = schema else {
        return;
    };
    visit(node);
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            each_schema(child, visit);
        }
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        properties
            .values_mut()
            .for_each(|child| each_schema(child, visit));
    }
}

/// `Option` becomes `nullable`, with which an explicit null would pass for a value: `has()` is true for it.
/// Without, the API server refuses null where an object is wanted.
fn refuse_null(node: &mut Map<String, Value>) {
    node.remove("nullable");
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// A table may have more columns alone than as one of many in a pipeline: a rule's price is multiplied by the lists above it.
fn bound_columns(node: &mut Map<String, Value>, columns_max: usize) {
    if let Some(Value::Object(columns)) = node.get_mut("properties").and_then(|p| p.get_mut("columns"))
        && columns.get("type").and_then(Value::as_str) == Some("array")
    {
        columns.entry("maxItems").or_insert(json!(columns_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        if let Some(properties) = schema["properties"].as_object() {
            for (name, child) in properties {
                walk(child, &format!("{path}.{name}"), visit);
            }
        }
        for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[key].is_object() {
                walk(&schema[key], &format!("{path}{suffix}"), visit);
            }
        }
    }

    #[test]
    fn every_list_map_and_string_is_bounded() {
        for crd in all() {
            let mut unbounded = Vec::new();
            walk(&schema(&crd), &crd.spec.names.kind, &mut |path, node| {
                let bound = match node["type"].as_str() {
                    Some("array") => &node["maxItems"],
                    Some("string") if node["enum"].is_array() => return,
                    Some("string") => &node["maxLength"],
                    Some("object") if node["additionalProperties"].is_object() => &node["maxProperties"],
                    _ => return,
                };
                if bound.is_null() && !path.ends_with(".apiVersion") && !path.ends_with(".kind") {
                    unbounded.push(path.to_owned());
                }
            });
            assert_eq!(unbounded, Vec::<String>::new());
        }
    }

    #[test]
    fn a_crd_is_at_most_60_kb_and_has_no_nulls() {
        for crd in all() {
            let text = yaml(&crd).unwrap();
            assert!(
                text.len() <= 60_000,
                "{}: {} bytes",
                crd.spec.names.kind,
                text.len()
            );
            assert!(
                !text.contains("nullable") && !text.contains("- null"),
                "{}",
                crd.spec.names.kind
            );
        }
    }

    #[test]
    fn only_identity_is_structurally_required_of_a_pipeline() {
        let mut required = Vec::new();
        let crd = of_kind("TenantPipeline").unwrap();
        walk(&schema(&crd)["properties"]["spec"], "spec", &mut |path, node| {
            for name in node["required"].as_array().into_iter().flatten() {
                required.push(format!("{path}.{}", name.as_str().unwrap_or_default()));
            }
        });
        required.retain(|path| !path.ends_with(".name") && !path.contains("Ref."));
        assert_eq!(
            required,
            [
                "spec.source",
                "spec.tenant",
                "spec.datasets[].hot.tables[].template.distributeBy.columns",
                "spec.datasets[].hot.tables[].template.grants[].role",
                // Says which of the two it is.
                "spec.onUnreachable.action",
            ]
        );
    }

    #[test]
    fn nothing_that_a_platform_can_default_has_a_default_in_the_crd() {
        for crd in all() {
            walk(&schema(&crd), "", &mut |path, node| {
                assert!(
                    node["default"].is_null() || path == ".status",
                    "{path}: {}",
                    node["default"]
                );
            });
        }
    }
}
