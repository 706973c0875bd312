//! Manifests that cannot be served: refused by the API server or answered by a condition, with the field and the reason
//! named; and claims on what somebody else has.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bad_input::{TENANT, namespace, own_table, pipeline};
use crate::checks::Checks;
use crate::kubectl::Object;
use crate::manifests::{PLATFORM, PLATFORM_NAMESPACE, TENANTS, source_secret};
use crate::scenario::Scenario;
use crate::wait::{Look, until};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs every step; leaves the namespace of [`TENANT`] with a Secret and no pipeline.
pub fn check(scenario: &Scenario, checks: &mut Checks) {
    let ready = checks.check("the namespace of a tenant that does everything wrong", || {
        let kubectl = &scenario.kubectl;
        kubectl.apply(&namespace(&format!("tenant-{TENANT}"), TENANT).to_string())?;
        kubectl.apply(&source_secret(TENANT, scenario.mongodb_uri()?))
    });
    if !ready {
        return;
    }
    for (what, column, words) in wrong_columns() {
        checks.check(&format!("said of a column with {what}"), || {
            let mut table = own_table();
            let columns = table["template"]["columns"].as_array_mut();
            columns.context("a table has columns")?.push(column);
            said(scenario, &table, words)
        });
    }
    checks.check("said of a where that is no expression", || {
        let mut table = own_table();
        table["template"]["where"] = "doc.status = 'paid'".into();
        said(scenario, &table, &["where", "="])
    });
    checks.check("said of a key that does not tell documents apart", || {
        let mut table = own_table();
        table["template"]["primaryKey"] = json!(["email"]);
        said(scenario, &table, &["primaryKey", "_id"])
    });
    checks.check("another tenant's database is out of reach", || {
        foreign_database(scenario)
    });
    for (what, field, value, reason, words) in claims() {
        checks.check(&format!("a {what} that another pipeline has is refused"), || {
            claimed(scenario, (field, value), reason, words)
        });
    }
}

/// A column that is wrong, and what the answer has to name.
fn wrong_columns() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        (
            "an unknown type",
            json!({"name": "total", "type": "MONEY"}),
            &["MONEY", "type"],
        ),
        (
            "a path that is none",
            json!({"name": "city", "type": "VARCHAR(9)", "from": "profile..city"}),
            &["city", "profile..city"],
        ),
        (
            "an unknown source",
            json!({"name": "who", "type": "VARCHAR(9)", "from": "$user"}),
            &["who", "$user", "$tenant"],
        ),
        (
            "a source that does not fit its type",
            json!({"name": "who", "type": "INT", "from": "$tenant"}),
            &["who", "$tenant", "VARCHAR"],
        ),
        (
            "a default that does not fit its type",
            json!({"name": "points", "type": "BIGINT", "default": "many"}),
            &["points", "default", "many"],
        ),
        (
            "an expression that is none",
            json!({"name": "twice", "type": "BIGINT", "expr": "doc.qty *"}),
            &["twice", "expr"],
        ),
        (
            "a name of the operator's own",
            json!({"name": "_extra", "type": "JSON"}),
            &["reserved column name"],
        ),
    ]
}

/// What a field of the source would take from acme, and the answer.
fn claims() -> [(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
); 2] {
    [
        ("topic", "topicPrefix", "acme", "TopicClaimed", &["topicPrefix"]),
        (
            "collection",
            "database",
            "shop_acme",
            "CollectionClaimed",
            &["shop_acme", "captured"],
        ),
    ]
}

fn object() -> Object {
    Object::new("tenantpipeline", &format!("tenant-{TENANT}"), TENANT)
}

/// Applies a pipeline with a table that cannot be; the refusal, or else the condition, names all the words.
fn said(scenario: &Scenario, table: &Value, words: &[&str]) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let manifest = pipeline(&format!("tenant-{TENANT}"), TENANT, table).to_string();
    let names_all = |text: &str| words.iter().all(|word| text.contains(word));
    let output = kubectl.try_run(&["apply", "-f", "-"], &manifest)?;
    if !output.status.success() {
        ensure!(
            names_all(&output.stderr),
            "{words:?} are not all in: {}",
            output.stderr
        );
        return Ok(output.stderr.trim().to_owned());
    }
    // The same reason as before may be there still: the words tell that it is about this one.
    let message = until(&format!("a condition that names {words:?}"), MINUTE, || {
        let conditions = kubectl.conditions(&object())?;
        let found = conditions
            .iter()
            .find(|c| c.status == "False" && names_all(&c.message));
        Ok(match found {
            Some(condition) => Look::There(condition.message.clone()),
            None => Look::NotYet(format!("{conditions:?}")),
        })
    })?;
    gone(scenario)?;
    Ok(message)
}

/// A template has no database, and an object of its own may only name its tenant's.
fn foreign_database(scenario: &Scenario) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let mut table = own_table();
    table["template"]["database"] = "tenant_acme".into();
    said(scenario, &table, &["unknown field", "template.database"])?;
    let mut spec = own_table()["template"].take();
    spec["platformRef"] = json!({"name": PLATFORM, "namespace": PLATFORM_NAMESPACE});
    spec["database"] = "tenant_acme".into();
    spec["table"] = "customers".into();
    let foreign = json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
        "metadata": {"name": "foreign", "namespace": space}, "spec": spec,
    });
    kubectl.apply(&foreign.to_string())?;
    let object = Object::new("starrockstable", &space, "foreign");
    let refused = kubectl.await_condition(&object, "Accepted", "False", &["RefNotPermitted"], MINUTE)?;
    ensure!(
        refused.message.contains("may not name database tenant_acme"),
        "the message does not say so: {}",
        refused.message
    );
    kubectl.run(&["delete", object.kind, &object.name, "-n", &space, "--wait=false"])?;
    kubectl.await_gone(&object, MINUTE)?;
    Ok(refused.message)
}

fn claimed(
    scenario: &Scenario,
    (field, value): (&str, &str),
    reason: &str,
    words: &[&str],
) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let mut manifest = pipeline(&format!("tenant-{TENANT}"), TENANT, &own_table());
    manifest["spec"]["source"]["mongodb"][field] = value.into();
    kubectl.apply(&manifest.to_string())?;
    let refused = kubectl.await_condition(&object(), "Accepted", "False", &[reason], MINUTE)?;
    if let Some(missing) = words.iter().find(|word| !refused.message.contains(**word)) {
        bail!("{missing:?} is not in: {}", refused.message);
    }
    ensure!(
        scenario.connector(TENANT)?.is_none(),
        "it has a connector all the same"
    );
    scenario.await_flowing(TENANTS[0])?;
    gone(scenario)?;
    Ok(refused.message)
}

/// Prefix and database of a source cannot be changed: the next wrong pipeline is another one.
fn gone(scenario: &Scenario) -> Result<()> {
    let object = object();
    let args = [
        "delete",
        object.kind,
        &object.name,
        "-n",
        &object.namespace,
        "--wait=false",
    ];
    scenario.kubectl.run(&args)?;
    scenario.kubectl.await_gone(&object, MINUTE)
}
