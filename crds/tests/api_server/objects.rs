//! Valid objects that tests break one field of.

use serde_json::{Value, json};

pub(crate) fn platform() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
        "metadata": {"name": "main", "namespace": "default"},
        "spec": {
            "ownerID": "test",
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}},
            "tenancy": {"tenantNames": "NamespaceLabel", "hotDatabase": "tenant_{tenant}"},
            "kafka": {"bootstrapServers": ["kafka:9092"]},
            "connect": {
                "url": "http://connect:8083",
                "sourceSecrets": {"type": "Mirrored", "mirrored": {
                    "secretRef": {"name": "sources"}, "namespace": "kafka",
                    "mountPath": "/opt/sources", "provider": "dir",
                }},
            },
            "starrocks": {"hot": {
                "httpEndpoints": ["http://fe:8030"], "mysqlEndpoints": ["fe:9030"],
                "adminCredentialsSecretRef": {"name": "admin"},
                "loadCredentialsSecretRef": {"name": "load"},
            }},
        },
    })
}

pub(crate) fn pipeline() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
        "metadata": {"name": "acme", "namespace": "default"},
        "spec": {
            "platformRef": {"name": "main"},
            "tenant": "acme",
            "source": {"mongodb": {
                "connectionSecretRef": {"name": "acme-mongodb", "key": "uri"},
                "database": "shop", "topicPrefix": "acme",
            }},
            "datasets": [{"name": "orders", "hot": {"tables": [
                {"name": "own", "template": {
                    "primaryKey": ["order_id"],
                    "columns": [
                        {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
                        {"name": "status", "type": "VARCHAR(64)"},
                    ],
                }},
                {"name": "shared", "tableRef": {"name": "orders"}, "columns": [{"name": "status", "value": "x"}]},
            ]}}],
        },
    })
}

pub(crate) fn table() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
        "metadata": {"name": "orders", "namespace": "default"},
        "spec": {
            "platformRef": {"name": "main"},
            "allowedNamespaces": {"from": "All"},
            "database": "shop", "table": "orders",
            "primaryKey": ["tenant", "order_id"],
            "columns": [
                {"name": "tenant", "type": "VARCHAR(40)", "from": "$tenant"},
                {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
                {"name": "status", "type": "VARCHAR(64)"},
            ],
        },
    })
}

/// `object` under another name.
pub(crate) fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// `object` with one field set; `null` removes it.
pub(crate) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer} has no parent"));
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(field)),
        (Value::Object(map), value) => drop(map.insert(field.to_owned(), value)),
        (Value::Array(items), value) => items[field.parse::<usize>().expect("an index")] = value,
        (other, _) => panic!("{pointer}: {other} has no fields"),
    }
    object
}
