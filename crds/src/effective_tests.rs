use serde_json::json;

use super::*;

fn platform(defaults: serde_json::Value) -> DataPlatform {
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform", "metadata": {},
        "spec": {
            "ownerID": "test", "kafka": {"bootstrapServers": []},
            "connect": {"url": "", "sourceSecrets": {"type": "Mirrored"}},
            "starrocks": {"hot": {
                "httpEndpoints": [], "mysqlEndpoints": [],
                "adminCredentialsSecretRef": {"name": ""}, "loadCredentialsSecretRef": {"name": ""},
            }},
            "defaults": defaults,
        },
    }))
    .expect("a platform")
}

fn pipeline(changes: serde_json::Value) -> TenantPipeline {
    let mut spec = json!({
        "platformRef": {"name": "main"}, "tenant": "big-corp",
        "source": {"mongodb": {"connectionSecretRef": {"name": "s", "key": "uri"}, "database": "shop"}},
        "datasets": [{"name": "orders", "hot": {"tables": [{"name": "order-lines", "template": {}}]}}],
    });
    for (field, value) in changes.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
        "metadata": {"name": "acme", "namespace": "tenant-acme"}, "spec": spec,
    }))
    .expect("a pipeline")
}

#[test]
fn nothing_set_means_the_built_in_values() {
    let e = effective(&platform(json!(null)), &pipeline(json!({}))).unwrap();
    assert_eq!(e.topics.partitions, builtin::PARTITIONS);
    assert_eq!(
        e.freshness,
        EffectiveFreshness {
            hot: None,
            window: builtin::FRESHNESS_WINDOW
        }
    );
    assert_eq!(e.relay.replicas, 1);
    assert_eq!(
        (e.relay.linger, e.relay.max_bytes),
        (builtin::LINGER, builtin::BATCH_BYTES)
    );
    assert_eq!(e.source.topic_prefix, "big-corp");
    assert_eq!(e.datasets[0].topic, "big-corp.shop.orders");
    assert_eq!(
        e.platform.namespace.as_deref(),
        Some("tenant-acme"),
        "a reference without a namespace is local"
    );
    let (child, spec) = e.own_tables().next().unwrap();
    assert_eq!(child, "acme.orders.order-lines");
    assert_eq!(spec.database.as_deref(), Some("tenant_big_corp"));
    assert_eq!(spec.template.table.as_deref(), Some("order_lines"));
    assert_eq!(spec.template.deletion_policy, Some(DeletionPolicy::Retain));
}

#[test]
fn the_pipeline_wins_over_the_platform_field_by_field() {
    let platform = platform(json!({
        "topics": {"partitions": 3}, "freshness": {"hot": "2s", "window": "30s"}, "deletionPolicy": "Delete",
        "relay": {"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}}, "batch": {"linger": "1s", "maxRows": 7}},
    }));
    let e = effective(
        &platform,
        &pipeline(json!({
            "freshness": {"hot": "5s"},
            "relay": {"resources": {"requests": {"memory": "64Mi"}}, "batch": {"linger": "50ms"}},
        })),
    )
    .unwrap();
    assert_eq!(
        e.freshness,
        EffectiveFreshness {
            hot: Some(Duration::from_secs(5)),
            window: Duration::from_secs(30)
        }
    );
    assert_eq!(
        (
            e.relay.requests.cpu.to_string(),
            e.relay.requests.memory.to_string()
        ),
        ("1".into(), "64Mi".into())
    );
    assert_eq!(e.relay.limit_memory.to_string(), "1Gi");
    assert_eq!((e.relay.linger, e.relay.max_rows), (Duration::from_millis(50), 7));
    assert_eq!(
        (e.topics.partitions, e.deletion_policy),
        (3, DeletionPolicy::Delete)
    );
    assert_eq!(
        e.own_tables().next().unwrap().1.template.deletion_policy,
        Some(DeletionPolicy::Delete)
    );
}

#[test]
fn the_digest_changes_with_what_is_meant_and_with_nothing_else() {
    let digest =
        |p: serde_json::Value, t: serde_json::Value| effective(&platform(p), &pipeline(t)).unwrap().digest();
    let base = digest(json!(null), json!({}));
    assert_eq!(
        base,
        digest(
            json!({"topics": {"partitions": 6}}),
            json!({"deletionPolicy": "Retain"})
        )
    );
    assert_ne!(base, digest(json!({"topics": {"partitions": 7}}), json!({})));
}

#[test]
fn what_cel_refuses_is_an_error_here_too_with_its_field() {
    let bad = pipeline(json!({"platformRef": null, "source": {"mongodb": {}}, "freshness": {"hot": "soon"}}));
    let errors = effective(&platform(json!(null)), &bad).unwrap_err();
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "platformRef",
            "source.mongodb.connectionSecretRef",
            "source.mongodb.database",
            "freshness.hot"
        ]
    );
}

#[test]
fn a_pipelines_replicas_go_before_its_platforms() {
    let platform = platform(json!({"relay": {"replicas": 3}}));
    let of = |changes| effective(&platform, &pipeline(changes)).unwrap().relay.replicas;
    assert_eq!(of(json!({})), 3);
    assert_eq!(of(json!({"relay": {"replicas": 2}})), 2);
}
