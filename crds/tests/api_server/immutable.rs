//! What cannot change after creation, by the API server and client-side alike.

use serde_json::{Value, json};
use tributary_crds::validate;

use crate::objects::{named, pipeline, platform, table, with};
use crate::server::{list, server};

pub(crate) struct Change {
    before: Value,
    after: Value,
    field: &'static str,
    pub(crate) message: &'static str,
}

fn change(before: Value, pointer: &str, value: Value, field: &'static str, message: &'static str) -> Change {
    let after = with(before.clone(), pointer, value);
    Change {
        before,
        after,
        field,
        message,
    }
}

pub(crate) fn changes() -> Vec<Change> {
    let mongodb = |field: &str| format!("/spec/source/mongodb/{field}");
    let without_prefix = with(pipeline(), &mongodb("topicPrefix"), Value::Null);
    vec![
        change(
            platform(),
            "/spec/ownerID",
            json!("other"),
            "spec.ownerID",
            "ownerID is immutable: every external object carries it",
        ),
        change(
            pipeline(),
            "/spec/tenant",
            json!("globex"),
            "spec.tenant",
            "tenant is immutable: create a new pipeline",
        ),
        change(
            pipeline(),
            "/spec/platformRef/name",
            json!("other"),
            "spec.platformRef",
            "platformRef is immutable",
        ),
        change(
            pipeline(),
            &mongodb("database"),
            json!("other"),
            "spec.source.mongodb.database",
            "database is immutable: it is part of every topic name",
        ),
        change(
            pipeline(),
            &mongodb("topicPrefix"),
            json!("other"),
            "spec.source.mongodb.topicPrefix",
            "topicPrefix is immutable: it is part of every topic name",
        ),
        // A transition rule on an optional field would not fire for these two.
        change(
            pipeline(),
            &mongodb("topicPrefix"),
            Value::Null,
            "spec.source.mongodb.topicPrefix",
            "topicPrefix is immutable: it is part of every topic name",
        ),
        change(
            without_prefix,
            &mongodb("topicPrefix"),
            json!("acme"),
            "spec.source.mongodb.topicPrefix",
            "topicPrefix is immutable: it is part of every topic name",
        ),
        change(
            pipeline(),
            "/spec/datasets/0/hot/tables/0/template/deletes",
            json!("Soft"),
            "spec.datasets[0].hot.tables[0].template",
            "deletes is fixed at creation",
        ),
        change(
            with(table(), "/spec/deletes", json!("Soft")),
            "/spec/deletes",
            Value::Null,
            "spec",
            "deletes is fixed at creation",
        ),
        change(
            table(),
            "/spec/platformRef",
            json!({"name": "main", "namespace": "other"}),
            "spec.platformRef",
            "platformRef is immutable",
        ),
        change(
            table(),
            "/spec/database",
            json!("other"),
            "spec",
            "database and table are immutable",
        ),
        change(
            table(),
            "/spec/table",
            json!("other"),
            "spec",
            "database and table are immutable",
        ),
        change(
            table(),
            "/spec/table",
            Value::Null,
            "spec",
            "database and table are immutable",
        ),
    ]
}

#[test]
fn identity_cannot_change() {
    let server = server();
    let cases = changes();
    server.namespace("immutable");
    let place = |object: &Value, i: usize| {
        let object = named(object.clone(), &format!("change-{i}"));
        with(object, "/metadata/namespace", json!("immutable"))
    };
    let before: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(i, c)| place(&c.before, i))
        .collect();
    server.must(&["create", "-f", "-"], Some(&list(&before)));
    for (i, case) in cases.iter().enumerate() {
        let after = place(&case.after, i);
        let answer = server.kubectl(&["replace", "--dry-run=server", "-f", "-"], Some(&after));
        let wanted = format!("{}: ", case.field);
        assert!(!answer.ok, "{i}: {} was accepted", case.message);
        assert!(
            answer.stderr.contains(&wanted) && answer.stderr.contains(case.message),
            "{i}: wanted {wanted}{}\nfound {}",
            case.message,
            answer.stderr
        );
        let kind = after["kind"].as_str().unwrap();
        let found = validate::cel(kind, &after, Some(&before[i]));
        assert!(
            found
                .iter()
                .any(|e| e.field == case.field && e.message == case.message),
            "{i}: client-side {found:#?}"
        );
    }
}

#[test]
fn the_rest_of_a_spec_can_change() {
    let server = server();
    server.namespace("mutable");
    let place = |object: Value| with(object, "/metadata/namespace", json!("mutable"));
    let before = [place(platform()), place(pipeline()), place(table())];
    server.must(&["create", "-f", "-"], Some(&list(&before)));
    let after = [
        with(
            before[0].clone(),
            "/spec/kafka/bootstrapServers",
            json!(["other:9092"]),
        ),
        with(before[1].clone(), "/spec/datasets/0/name", json!("other")),
        // Said is the same as not said.
        with(before[2].clone(), "/spec/deletes", json!("Hard")),
        // Allowed: it becomes a plan that waits for approval, not an error.
        with(
            before[2].clone(),
            "/spec/primaryKey",
            json!(["order_id", "tenant"]),
        ),
    ];
    let answer = server.kubectl(&["replace", "--dry-run=server", "-f", "-"], Some(&list(&after)));
    assert!(answer.ok, "{}", answer.stderr);
}
