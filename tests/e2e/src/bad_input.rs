//! Bad input, one step each: a clear word about it, and nothing of anybody else's touched or lost. In the end the pipeline of [`TENANT`]
//! flows, which [`crate::outages`] then takes away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::checks::Checks;
use crate::kubectl::Object;
use crate::manifests::{self, PLATFORM, PLATFORM_NAMESPACE, TENANTS, source_secret};
use crate::scenario::Scenario;
use crate::{http, wait};

const MINUTE: Duration = Duration::from_secs(60);
/// The tenant that does everything wrong.
pub(crate) const TENANT: &str = "initech";

/// Runs every step; the pipelines of [`TENANTS`] flow before and after.
pub fn check(scenario: &Scenario, checks: &mut Checks) {
    checks.check("texts with ${…}, quotes and SQL arrive as they are", || {
        odd_texts(scenario)
    });
    checks.check(
        "a second pipeline claims a tenant: refused, the first goes on",
        || claimed_tenant(scenario),
    );
    checks.check(
        "foreign table and connector of the pipeline's names: said, and left alone",
        || foreign_objects(scenario),
    );
    checks.check("another tenant's table is out of reach", || {
        out_of_reach(scenario)
    });
    checks.check("a second object for one table: refused, the rows stay", || {
        claimed_table(scenario)
    });
}

fn odd_texts(scenario: &Scenario) -> Result<String> {
    let id = "6592008029c8c3e4dc762570";
    let texts = [
        "${dir:/opt/tributary/sources:tenant-acme.acme.uri}",
        r#"'"; DROP TABLE tenant_acme.customers; -- ` \"#,
    ];
    scenario.programs.write(&[json!({
        "insert": "shop_acme.customers",
        "document": {"_id": {"$oid": id}, "email": texts[0], "profile": {"address": {"city": texts[1]}}},
    })])?;
    let row = format!("FROM tenant_acme.customers WHERE customer_id = '{id}'");
    scenario.await_value(&format!("SELECT COUNT(*) {row}"), "1", MINUTE)?;
    let rows = scenario.sql.query(&format!("SELECT email, city {row}"))?;
    let found = rows.first().context("the row is gone")?;
    ensure!(found.as_slice() == texts, "expected {texts:?}, found {found:?}");
    Ok(String::new())
}

pub(crate) fn namespace(name: &str, tenant: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"tributary.dev/platform": PLATFORM, "tributary.dev/tenant": tenant}},
    })
}

/// A pipeline of one table; `table` is its `hot.tables[0]`.
pub(crate) fn pipeline(namespace: &str, tenant: &str, table: &Value) -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
        "metadata": {"name": tenant, "namespace": namespace},
        "spec": {
            "platformRef": {"name": PLATFORM, "namespace": PLATFORM_NAMESPACE},
            "tenant": tenant,
            "source": {"mongodb": {
                "connectionSecretRef": {"name": format!("{tenant}-mongodb"), "key": "uri"},
                "database": format!("shop_{tenant}"),
            }},
            "datasets": [{"name": "customers", "hot": {"tables": [table]}}],
        },
    })
}

pub(crate) fn own_table() -> Value {
    json!({"name": "customers", "template": {
        "primaryKey": ["customer_id"],
        "columns": [
            {"name": "customer_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
            {"name": "email", "type": "VARCHAR(320)"},
            {"name": "op", "type": "VARCHAR(1)", "from": "$op"},
        ],
    }})
}

/// Its namespace may speak for the tenant, but another pipeline does already.
fn claimed_tenant(scenario: &Scenario) -> Result<String> {
    let [tenant, _] = TENANTS;
    let second = format!("tenant-{tenant}-too");
    let kubectl = &scenario.kubectl;
    kubectl.apply(&namespace(&second, tenant).to_string())?;
    let mut secret: Value = serde_json::from_str(&source_secret(tenant, scenario.mongodb_uri()?))?;
    secret["metadata"]["namespace"] = second.as_str().into();
    kubectl.apply(&secret.to_string())?;
    kubectl.apply(&pipeline(&second, tenant, &own_table()).to_string())?;
    let object = Object::new("tenantpipeline", &second, tenant);
    // Its topics would be the other's too: either may be said first.
    let claimed = ["TenantClaimed", "TopicClaimed"];
    let refused = kubectl.await_condition(&object, "Accepted", "False", &claimed, MINUTE)?;
    scenario.await_flowing(tenant)?;
    kubectl.run(&["delete", "namespace", &second, "--wait=false"])?;
    kubectl.await_gone(&Object::new("namespace", "", &second), 2 * MINUTE)?;
    Ok(refused.message)
}

fn foreign_objects(scenario: &Scenario) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let table = format!("tenant_{TENANT}.customers");
    for statement in [
        format!("CREATE DATABASE tenant_{TENANT}"),
        format!(
            "CREATE TABLE {table} (k INT NOT NULL, theirs VARCHAR(20)) PRIMARY KEY (k) \
             DISTRIBUTED BY HASH (k) BUCKETS 1 PROPERTIES ('replication_num' = '1')"
        ),
        format!("INSERT INTO {table} VALUES (1, 'not yours')"),
    ] {
        scenario.sql.query(&statement)?;
    }
    let connector = foreign_connector(scenario)?;
    kubectl.apply(&namespace(&space, TENANT).to_string())?;
    kubectl.apply(&source_secret(TENANT, scenario.mongodb_uri()?))?;
    kubectl.apply(&pipeline(&space, TENANT, &own_table()).to_string())?;

    let object = Object::new("tenantpipeline", &space, TENANT);
    let reasons = ["TableConflict", "ChildNotReady"];
    let refused = kubectl.await_condition(&object, "TablesReady", "False", &reasons, 2 * MINUTE)?;
    let conflict = ["ConnectorConflict"];
    let also = kubectl.await_condition(&object, "ConnectorReady", "False", &conflict, 2 * MINUTE)?;

    let rows = scenario.sql.query(&format!("SELECT theirs FROM {table}"))?;
    ensure!(rows == [["not yours"]], "the foreign table now holds {rows:?}");
    let (_, still) = http::get(&connector)?;
    ensure!(
        still["config"]["topic.prefix"] == "theirs",
        "the foreign connector is now {still}"
    );
    http::delete(&connector)?;
    scenario.sql.query(&format!("DROP TABLE {table}"))?;
    // Whoever moves aside is all it takes.
    kubectl.await_condition(&object, "Ready", "True", &["Flowing"], 3 * MINUTE)?;
    Ok(format!("{}; {}", refused.message, also.message))
}

/// Somebody's connector under the name that the pipeline's would have; stopped, so that it does nothing. Its address.
fn foreign_connector(scenario: &Scenario) -> Result<String> {
    let info = scenario.info();
    let connect = &info
        .connect
        .as_ref()
        .context("this stage has no Kafka Connect")?
        .url;
    let mongodb = info.mongodb.as_ref().context("this stage has no MongoDB")?;
    let mut uri = mongodb.uri.clone();
    if let Some(admin) = &mongodb.admin_url {
        // A user of its own: Connect shows what it is given, and the pipelines' password must never be seen there.
        http::post(
            &format!("{admin}/users"),
            &json!({"user": "theirs", "password": "theirs"}),
        )?;
        let host = uri.split('@').next_back().context("the URI names a host")?;
        uri = format!("mongodb://theirs:theirs@{host}");
    }
    let name = manifests::connector(info, TENANT);
    http::post(
        &format!("{connect}/connectors"),
        &json!({"name": name, "initial_state": "STOPPED", "config": {
            "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
            "mongodb.connection.string": uri, "topic.prefix": "theirs", "tasks.max": "1",
        }}),
    )?;
    let address = format!("{connect}/connectors/{name}");
    wait::until("the foreign connector is there", MINUTE, || {
        let (status, found) = http::get(&address)?;
        Ok(if status == 200 {
            wait::Look::There(())
        } else {
            wait::Look::NotYet(format!("{status}: {found}"))
        })
    })?;
    Ok(address)
}

/// A table of another tenant's namespace, which permits nobody: absent and forbidden read the same.
fn out_of_reach(scenario: &Scenario) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let [other, _] = TENANTS;
    let object = Object::new("tenantpipeline", &space, TENANT);
    let mut said = Vec::new();
    for name in [format!("{other}.customers.customers"), "no-such-table".to_owned()] {
        let table =
            json!({"name": "orders", "tableRef": {"name": name, "namespace": format!("tenant-{other}")}});
        let mut wrong = pipeline(&space, TENANT, &own_table());
        wrong["spec"]["datasets"] =
            json!([wrong["spec"]["datasets"][0], {"name": "orders", "hot": {"tables": [table]}}]);
        kubectl.apply(&wrong.to_string())?;
        let refused = kubectl.await_condition(&object, "Accepted", "False", &["RefNotPermitted"], MINUTE)?;
        said.push(refused.message.replace(&name, "NAME"));
        kubectl.apply(&pipeline(&space, TENANT, &own_table()).to_string())?;
        kubectl.await_condition(&object, "Accepted", "True", &[], MINUTE)?;
    }
    ensure!(
        said[0] == said[1],
        "the answer tells whether the table exists: {said:?}"
    );
    Ok(said.swap_remove(0))
}

/// Its namespace may name the database, but the pipeline's own table is there.
fn claimed_table(scenario: &Scenario) -> Result<String> {
    let kubectl = &scenario.kubectl;
    let space = format!("tenant-{TENANT}");
    let mut spec = own_table()["template"].take();
    spec["platformRef"] = json!({"name": PLATFORM, "namespace": PLATFORM_NAMESPACE});
    spec["database"] = format!("tenant_{TENANT}").into();
    spec["table"] = "customers".into();
    spec["deletionPolicy"] = "Delete".into();
    let second = json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
        "metadata": {"name": "second", "namespace": space}, "spec": spec,
    });
    kubectl.apply(&second.to_string())?;
    let object = Object::new("starrockstable", &space, "second");
    let refused = kubectl.await_condition(&object, "Ready", "False", &["TableConflict"], MINUTE)?;
    kubectl.run(&["delete", object.kind, &object.name, "-n", &space, "--wait=false"])?;
    kubectl.await_gone(&object, MINUTE)?;
    // What it did not own it did not drop.
    let count = format!("SELECT COUNT(*) FROM tenant_{TENANT}.customers");
    scenario.await_value(&count, "0", MINUTE)?;
    Ok(refused.message)
}
