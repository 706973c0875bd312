//! Every rule both ways: what it refuses, with the message that names the field, by the API server and client-side alike;
//! and what it lets pass.

use serde_json::{Value, json};
use tributary_crds::{crd, validate};

use crate::objects::{named, pipeline, platform, table, with};
use crate::server::{list, server};

const TEMPLATE: &str = "/spec/datasets/0/hot/tables/0/template";

/// Who refuses.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Rule,
    Schema,
}

struct Bad {
    by: By,
    object: Value,
    field: &'static str,
    message: &'static str,
}

fn bad(object: Value, field: &'static str, message: &'static str) -> Bad {
    Bad {
        by: By::Rule,
        object,
        field,
        message,
    }
}

/// What CEL refuses.
fn refused_by_rules() -> Vec<Bad> {
    let template = |field: &str| format!("{TEMPLATE}/{field}");
    let column = |column: Value| with(pipeline(), &template("columns/1"), column);
    let column_field = "spec.datasets[0].hot.tables[0].template.columns[1]";
    vec![
        bad(
            named(pipeline(), &"a".repeat(41)),
            "<nil>",
            "metadata.name must be a DNS label of at most 40 characters: children are named <pipeline>.<dataset>.<table>",
        ),
        bad(
            with(pipeline(), "/spec/platformRef", Value::Null),
            "spec",
            "platformRef is required",
        ),
        bad(
            with(pipeline(), "/spec/source", json!({})),
            "spec.source",
            "source needs exactly one of: mongodb",
        ),
        bad(
            with(pipeline(), "/spec/datasets", Value::Null),
            "spec",
            "datasets needs at least one dataset",
        ),
        bad(
            with(pipeline(), "/spec/datasets/0/name", json!("gold")),
            "spec.datasets",
            "gold is a reserved dataset name: it would collide with child names",
        ),
        bad(
            with(pipeline(), "/spec/datasets/0/hot", Value::Null),
            "spec.datasets[0]",
            "a dataset needs hot",
        ),
        bad(
            with(pipeline(), "/spec/datasets/0/hot/tables", json!([])),
            "spec.datasets[0].hot",
            "hot needs at least one table",
        ),
        bad(
            with(
                pipeline(),
                "/spec/source/mongodb/connectionSecretRef",
                Value::Null,
            ),
            "spec.source.mongodb",
            "connectionSecretRef is required",
        ),
        bad(
            with(pipeline(), "/spec/source/mongodb/database", Value::Null),
            "spec.source.mongodb",
            "database is required",
        ),
        bad(
            with(
                pipeline(),
                "/spec/datasets/0/hot/tables/0/tableRef",
                json!({"name": "x"}),
            ),
            "spec.datasets[0].hot.tables[0]",
            "exactly one of template, tableRef",
        ),
        bad(
            with(pipeline(), TEMPLATE, Value::Null),
            "spec.datasets[0].hot.tables[0]",
            "exactly one of template, tableRef",
        ),
        bad(
            with(
                pipeline(),
                "/spec/datasets/0/hot/tables/0/columns",
                json!([{"name": "status", "value": "x"}]),
            ),
            "spec.datasets[0].hot.tables[0]",
            "columns and where belong to tableRef; with template write them inside it",
        ),
        bad(
            with(
                pipeline(),
                "/spec/datasets/0/hot/tables/0/where",
                json!("doc.a == 1"),
            ),
            "spec.datasets[0].hot.tables[0]",
            "columns and where belong to tableRef; with template write them inside it",
        ),
        bad(
            with(
                pipeline(),
                "/spec/datasets/0/hot/tables/1/columns/0/from",
                json!("x"),
            ),
            "spec.datasets[0].hot.tables[1].columns[0]",
            "at most one of from, value, expr",
        ),
        bad(
            with(pipeline(), &template("primaryKey"), Value::Null),
            "spec.datasets[0].hot.tables[0].template",
            "primaryKey is required",
        ),
        bad(
            with(pipeline(), &template("columns"), json!([])),
            "spec.datasets[0].hot.tables[0].template",
            "columns is required",
        ),
        bad(
            column(json!({"name": "status"})),
            column_field,
            "type is required",
        ),
        bad(
            column(json!({"name": "status", "type": "INT", "from": "a", "value": "1"})),
            column_field,
            "at most one of from, value, expr",
        ),
        bad(
            column(json!({"name": "status", "type": "INT", "from": "a", "expr": "doc.a"})),
            column_field,
            "at most one of from, value, expr",
        ),
        bad(
            column(json!({"name": "status", "type": "INT", "value": "1", "expr": "doc.a"})),
            column_field,
            "at most one of from, value, expr",
        ),
        bad(
            with(pipeline(), &template("primaryKey"), json!(["oder_id"])),
            "spec.datasets[0].hot.tables[0].template.primaryKey",
            "primaryKey names a column that is not declared, or one twice",
        ),
        bad(
            with(
                pipeline(),
                &template("primaryKey"),
                json!(["order_id", "order_id"]),
            ),
            "spec.datasets[0].hot.tables[0].template.primaryKey",
            "primaryKey names a column that is not declared, or one twice",
        ),
        bad(
            with(pipeline(), &template("columns/0/bson"), Value::Null),
            "spec.datasets[0].hot.tables[0].template.columns",
            "a key column with from: _id declares bson",
        ),
        bad(
            with(pipeline(), &template("rows"), json!({"explode": "items"})),
            "spec.datasets[0].hot.tables[0].template.columns",
            "with rows.explode every column says where it comes from",
        ),
        bad(
            with(pipeline(), &template("rows"), json!({"as": "Rows"})),
            "spec.datasets[0].hot.tables[0].template.rows",
            "explode is required",
        ),
        bad(
            with(pipeline(), "/spec/onUnreachable", json!({"action": "Orphan"})),
            "spec.onUnreachable",
            "after belongs to action: Orphan, and is required there",
        ),
        bad(
            with(table(), "/spec/grants", json!([{"role": "readers"}])),
            "spec.grants[0]",
            "privileges is required",
        ),
        bad(
            with(table(), "/spec/rows", json!({"explode": "items"})),
            "spec.columns",
            "with rows.explode every column says where it comes from",
        ),
        bad(
            column(json!({"name": "_ver", "type": "INT"})),
            column_field,
            "reserved column name",
        ),
        bad(
            column(json!({"name": "__starrocks_shadow_x", "type": "INT"})),
            column_field,
            "reserved column name",
        ),
        bad(
            with(table(), "/spec/platformRef", Value::Null),
            "spec",
            "platformRef is required",
        ),
        bad(
            with(table(), "/spec/database", Value::Null),
            "spec",
            "database is required",
        ),
        bad(
            with(table(), "/spec/primaryKey", json!([])),
            "spec",
            "primaryKey is required",
        ),
        bad(
            with(table(), "/spec/columns", json!([])),
            "spec",
            "columns is required",
        ),
        bad(
            with(table(), "/spec/primaryKey", json!(["tenant", "oder_id"])),
            "spec.primaryKey",
            "primaryKey names a column that is not declared, or one twice",
        ),
        bad(
            with(table(), "/spec/columns/1/bson", Value::Null),
            "spec.columns",
            "a key column with from: _id declares bson",
        ),
        bad(
            with(table(), "/spec/primaryKey", json!(["order_id"])),
            "spec",
            "a shared table needs a key column with from: $tenant",
        ),
        bad(
            with(table(), "/spec/columns/2/name", json!("_extra")),
            "spec.columns[2]",
            "reserved column name",
        ),
        bad(
            with(table(), "/spec/allowedNamespaces", json!({"from": "Selector"})),
            "spec.allowedNamespaces",
            "selector belongs to from: Selector, and is required there",
        ),
        bad(
            with(platform(), "/spec/allowedNamespaces/from", json!("All")),
            "spec.allowedNamespaces",
            "selector belongs to from: Selector, and is required there",
        ),
        bad(
            with(platform(), "/spec/tenancy/hotDatabase", json!("tenants")),
            "spec.tenancy.hotDatabase",
            "hotDatabase must contain {tenant}: every tenant has a database of its own",
        ),
        bad(
            with(platform(), "/spec/connect/sourceSecrets/mirrored", Value::Null),
            "spec.connect.sourceSecrets",
            "mirrored belongs to type: Mirrored, and is required there",
        ),
    ]
}

/// What types, patterns and bounds refuse: the API server's words.
fn refused_by_schema() -> Vec<Bad> {
    let mongodb = |field: &str| format!("/spec/source/mongodb/{field}");
    vec![
        bad(
            with(pipeline(), "/spec/tenant", json!("Acme")),
            "spec.tenant",
            "should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
        ),
        bad(
            with(pipeline(), "/spec/tenant", Value::Null),
            "spec.tenant",
            "Required value",
        ),
        bad(
            with(pipeline(), "/spec/platformRef", json!({})),
            "spec.platformRef.name",
            "Required value",
        ),
        bad(
            with(pipeline(), &mongodb("database"), json!("${file:x}")),
            "spec.source.mongodb.database",
            "should match",
        ),
        bad(
            with(pipeline(), &mongodb("topicPrefix"), json!("a.b")),
            "spec.source.mongodb.topicPrefix",
            "should match",
        ),
        bad(
            with(pipeline(), &mongodb("capture"), json!("Everything")),
            "spec.source.mongodb.capture",
            "supported values: \"UpdateFull\", \"UpdateFullWithPreImage\"",
        ),
        bad(
            with(pipeline(), &mongodb("pollInterval"), json!("1d")),
            "spec.source.mongodb.pollInterval",
            "should match",
        ),
        bad(
            with(pipeline(), "/spec/datasets/0/collection", json!("a,b")),
            "spec.datasets[0].collection",
            "should match",
        ),
        bad(
            with(
                pipeline(),
                &format!("{TEMPLATE}/columns/1/onError"),
                json!("Null"),
            ),
            "spec.datasets[0].hot.tables[0].template.columns[1].onError",
            "supported values: \"SetNull\", \"Overflow\", \"Reject\"",
        ),
        bad(
            with(pipeline(), &format!("{TEMPLATE}/deletes"), json!("Maybe")),
            "spec.datasets[0].hot.tables[0].template.deletes",
            "supported values: \"Hard\", \"Soft\"",
        ),
        bad(
            with(
                pipeline(),
                &format!("{TEMPLATE}/rows"),
                json!({"explode": "items", "as": "View"}),
            ),
            "spec.datasets[0].hot.tables[0].template.rows.as",
            "supported values: \"Rows\"",
        ),
        bad(
            with(
                table(),
                "/spec/grants",
                json!([{"role": "readers", "privileges": ["INSERT"]}]),
            ),
            "spec.grants[0].privileges[0]",
            "supported values: \"SELECT\", \"EXPORT\"",
        ),
        bad(
            with(
                table(),
                "/spec/grants",
                json!([{"role": "a`b", "privileges": ["SELECT"]}]),
            ),
            "spec.grants[0].role",
            "should match",
        ),
        bad(
            with(table(), "/spec/adoption", json!("Always")),
            "spec.adoption",
            "supported values",
        ),
        bad(
            with(table(), "/spec/drift", json!("Ignore")),
            "spec.drift",
            "supported values",
        ),
        bad(
            with(platform(), "/spec/tenancy/databases", json!([{"name": "shop"}])),
            "spec.tenancy.databases[0].namespaces",
            "Required value",
        ),
        bad(
            with(pipeline(), "/spec/deletionPolicy", json!("Drop")),
            "spec.deletionPolicy",
            "supported values",
        ),
        bad(
            with(platform(), "/spec/ownerID", json!("a.b")),
            "spec.ownerID",
            "should match",
        ),
        bad(
            with(platform(), "/spec/kafka/bootstrapServers", json!(["kafka"])),
            "spec.kafka.bootstrapServers[0]",
            "should match",
        ),
        bad(
            with(platform(), "/spec/connect/url", json!("connect:8083")),
            "spec.connect.url",
            "should match",
        ),
        bad(
            with(platform(), "/spec/limits", json!({"relayMemory": "2GB"})),
            "spec.limits.relayMemory",
            "should match",
        ),
        bad(
            with(table(), "/spec/database", json!("a`b")),
            "spec.database",
            "should match",
        ),
    ]
}

/// Valid objects at the edges of the rules above.
fn accepted() -> Vec<Value> {
    let only = |object, pointer: &str| with(object, pointer, Value::Null);
    vec![
        platform(),
        pipeline(),
        table(),
        named(pipeline(), &"a".repeat(40)),
        only(pipeline(), "/spec/source/mongodb/topicPrefix"),
        only(pipeline(), "/spec/datasets/0/hot/tables/1/columns"),
        with(pipeline(), "/spec/datasets/0/collection", json!("Größe.x y")),
        with(
            pipeline(),
            "/spec/relay",
            json!({"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}, "batch": {"linger": "200ms", "maxBytes": "4Mi", "maxRows": 1}}),
        ),
        with(
            pipeline(),
            &format!("{TEMPLATE}/columns/1"),
            json!({"name": "status", "type": "INT", "value": "1"}),
        ),
        with(
            pipeline(),
            &format!("{TEMPLATE}/columns/1"),
            json!({"name": "odd name", "type": "array< decimal( 10 , 2 ) >", "from": "a[\"b.c\"][0]"}),
        ),
        with(
            table(),
            "/spec/columns/2",
            json!({"name": "id2", "type": "JSON", "from": "_id"}),
        ),
        with(
            with(table(), "/spec/allowedNamespaces/from", json!("Same")),
            "/spec/primaryKey",
            json!(["order_id"]),
        ),
        with(
            with(
                pipeline(),
                &format!("{TEMPLATE}/primaryKey"),
                json!(["_doc", "status"]),
            ),
            &format!("{TEMPLATE}/deletes"),
            json!("Soft"),
        ),
        with(
            with(
                with(
                    pipeline(),
                    &format!("{TEMPLATE}/rows"),
                    json!({"explode": "items", "as": "Rows"}),
                ),
                &format!("{TEMPLATE}/columns/1"),
                json!({"name": "status", "type": "INT", "expr": "element.a + 1"}),
            ),
            &format!("{TEMPLATE}/primaryKey"),
            json!(["order_id", "status"]),
        ),
        with(
            pipeline(),
            "/spec/datasets/0/hot/tables/1/where",
            json!("doc.a == 1"),
        ),
        with(
            table(),
            "/spec/grants",
            json!([{"role": "readers", "privileges": ["SELECT", "EXPORT"]}]),
        ),
        with(
            with(table(), "/spec/adoption", json!("IfCompatible")),
            "/spec/drift",
            json!("Enforce"),
        ),
        with(
            platform(),
            "/spec/tenancy/databases",
            json!([{"name": "shop", "namespaces": ["shop-shared"]}]),
        ),
        only(platform(), "/spec/tenancy"),
        with(
            platform(),
            "/spec/relay",
            json!({"podOverrides": {"spec": {"hostNetwork": true, "anything": [1, {"a": "b"}]}}}),
        ),
        with(
            platform(),
            "/spec/limits",
            json!({"relayMemory": "2Gi", "sourceHosts": ["*.mongodb.svc", "127.0.0.1"]}),
        ),
    ]
}

#[test]
fn the_api_server_refuses_bad_yaml_and_names_the_field() {
    let server = server();
    // Without kubectl's own check, so that every word is the API server's.
    let cases: Vec<Bad> = refused_by_rules()
        .into_iter()
        .chain(refused_by_schema().into_iter().map(|case| Bad {
            by: By::Schema,
            ..case
        }))
        .collect();
    let names: Vec<String> = (0..cases.len()).map(|i| format!("case-{i}")).collect();
    let objects: Vec<Value> = cases
        .iter()
        .zip(&names)
        .map(|(case, name)| {
            let keeps_name = case.field == "<nil>";
            if keeps_name {
                case.object.clone()
            } else {
                named(case.object.clone(), name)
            }
        })
        .collect();
    let answer = server.kubectl(
        &["create", "--dry-run=server", "--validate=false", "-f", "-"],
        Some(&list(&objects)),
    );
    assert!(
        !answer.ok && answer.stdout.is_empty(),
        "accepted: {}",
        answer.stdout
    );
    for (case, object) in cases.iter().zip(&objects) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let (field, message) = (case.field, case.message);
        let said = answer.stderr.lines().find_map(|line| {
            line.split_once(&format!("\"{name}\" is invalid: "))
                .map(|(_, said)| said)
        });
        let said =
            said.unwrap_or_else(|| panic!("{name} ({field}: {message}) was accepted:\n{}", answer.stderr));
        // A rule's message follows its field; a schema's names the value first.
        let exact = format!("{field}: Invalid value: {message}");
        let named = said.contains(&format!("{field}: ")) && said.contains(message);
        assert!(
            said.contains(&exact) || (case.by == By::Schema && named),
            "wanted {exact}\nfound  {said}"
        );
    }
}

#[test]
fn the_same_rules_say_the_same_without_a_server() {
    for case in refused_by_rules() {
        let kind = case.object["kind"].as_str().unwrap();
        let found = validate::cel(kind, &case.object, None);
        let field = if case.field == "<nil>" { "" } else { case.field };
        assert!(
            found
                .iter()
                .any(|e| e.field == field && e.message == case.message),
            "wanted {}: {}\nfound {found:#?}",
            case.field,
            case.message
        );
    }
}

#[test]
fn the_same_shape_is_asked_for_without_a_server() {
    for case in refused_by_schema() {
        let found = validate::object(&case.object);
        let named = found
            .iter()
            .any(|e| e.field == case.field && e.message.contains(case.message));
        assert!(named, "{}: {}: found {found:#?}", case.field, case.message);
    }
}

#[test]
fn what_is_valid_passes_both() {
    let server = server();
    let objects: Vec<Value> = accepted()
        .into_iter()
        .enumerate()
        .map(|(i, object)| match object["metadata"]["name"].as_str() {
            Some(name) if name.len() == 40 => object,
            _ => named(object, &format!("good-{i}")),
        })
        .collect();
    let answer = server.kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&list(&objects)));
    assert!(answer.ok, "{}", answer.stderr);
    assert_eq!(answer.stderr, "", "no warnings either");
    for object in &objects {
        assert_eq!(validate::object(object), vec![], "{object}");
    }
}

/// A rule that is in no case above is a rule nobody has seen working.
#[test]
fn every_rule_has_a_case() {
    let cases = refused_by_rules();
    for definition in crd::all() {
        let kind = definition.spec.names.kind.clone();
        let mut messages = Vec::new();
        collect_messages(&crd::schema(&definition), &mut messages);
        for message in messages {
            let covered = cases.iter().any(|c| c.message == message)
                || crate::immutable::changes().iter().any(|c| c.message == message);
            assert!(covered, "{kind}: no case for {message:?}");
        }
    }
}

fn collect_messages(schema: &Value, messages: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for rule in map
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                messages.push(
                    rule["message"]
                        .as_str()
                        .expect("a rule without a message")
                        .to_owned(),
                );
            }
            map.values().for_each(|value| collect_messages(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}
