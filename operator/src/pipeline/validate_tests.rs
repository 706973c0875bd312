use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_crds::status::PipelineReason as R;

use super::dereference::{Connection, Referenced, sibling};
use super::fixtures::*;
use super::validate::{Refused, validate};

fn refused(refs: Referenced) -> Refused {
    match validate(&Arc::new(pipeline()), &refs) {
        Ok(_) => panic!("accepted"),
        Err(refused) => refused,
    }
}

#[test]
fn absent_and_not_permitted_platforms_read_the_same() {
    let absent = refused(Referenced {
        platform: None,
        ..refs()
    });
    let unlabelled = refused(Referenced {
        namespace_labels: Some(BTreeMap::new()),
        ..refs()
    });
    assert_eq!(absent, unlabelled);
    assert_eq!(absent.reason, R::RefNotPermitted);
}

#[test]
fn a_tenant_is_claimed_by_the_namespaces_label() {
    let mut labels = refs().namespace_labels.unwrap();
    labels.insert("tributary.dev/tenant".into(), "globex".into());
    let refused = refused(Referenced {
        namespace_labels: Some(labels),
        ..refs()
    });
    assert_eq!(refused.reason, R::TenantClaimed);
}

#[test]
fn capacity_counts_older_pipelines() {
    let older = |name: &str| {
        let mut sibling = sibling(&pipeline());
        (sibling.name, sibling.tenant) = (name.into(), name.into());
        sibling.created = Some(jiff::Timestamp::UNIX_EPOCH);
        sibling
    };
    let refused = refused(Referenced {
        siblings: vec![older("a"), older("b")],
        ..refs()
    });
    assert_eq!(refused.reason, R::CapacityExceeded);
}

#[test]
fn the_connection_string_is_checked_and_never_shown() {
    for (connection, reason, says) in [
        (Connection::NoSecret, R::SecretNotFound, "no Secret acme-mongodb"),
        (Connection::NoKey, R::SecretNotFound, "no key uri"),
        (
            Connection::Found(credential("mongodb://u:hunter2@evil.example.com/?replicaSet=a")),
            R::InvalidSpec,
            "evil.example.com",
        ),
        (
            Connection::Found(credential(
                "mongodb://u:hunter2@a.mongodb.svc/?x=${dir:/a:b}&replicaSet=a",
            )),
            R::InvalidSpec,
            "secret",
        ),
    ] {
        let refused = refused(Referenced { connection, ..refs() });
        assert_eq!(refused.reason, reason, "{}", refused.message);
        assert!(refused.message.contains(says), "{}", refused.message);
        assert!(!refused.message.contains("hunter2"), "{}", refused.message);
    }
}

#[test]
fn limits_and_mappings_are_refused_with_their_field() {
    let mut greedy = pipeline();
    greedy.spec.relay =
        serde_json::from_value(serde_json::json!({"resources": {"limits": {"memory": "4Gi"}}})).unwrap();
    let result = validate(&Arc::new(greedy), &refs()).err().unwrap();
    assert_eq!(result.reason, R::LimitExceeded);
    let mut bad = pipeline();
    let table = bad.spec.datasets[0].hot.as_mut().unwrap().tables[0]
        .template
        .as_mut()
        .unwrap();
    table.table.columns[1].column_type = Some("MONEY".into());
    let result = validate(&Arc::new(bad), &refs()).err().unwrap();
    assert_eq!(result.reason, R::MappingInvalid);
    assert!(
        result
            .message
            .contains("datasets[orders].hot.tables[orders].columns[status].type"),
        "{}",
        result.message
    );
}
