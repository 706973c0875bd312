//! Tables against the StarRocks stand-in, by its MySQL protocol: what is made, altered, granted, adopted, and left alone.
//!
//! `TRIBUTARY_TEST_STANDIN_STARROCKS` names a built stand-in; without it cargo builds one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tributary_crds::StarRocksTable;
use tributary_crds::status::find;
use tributary_crds::table::StarRocksTableStatus;
use tributary_operator::backend::starrocks::{StarRocksClient, StarRocksOptions};
use tributary_operator::table::align;
use tributary_operator::table::dereference::Referenced;
use tributary_operator::table::status::status;
use tributary_operator::table::validate::validate;

struct StarRocks {
    child: Child,
    mysql: String,
    admin: String,
    client: StarRocksClient,
}

impl Drop for StarRocks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl StarRocks {
    fn start() -> Self {
        let program = match std::env::var_os("TRIBUTARY_TEST_STANDIN_STARROCKS") {
            Some(path) => PathBuf::from(path),
            None => tributary_stage::binary::build(
                tributary_stage::binary::Selection::AsCargoTest,
                &["standin-starrocks"],
            )
            .expect("standin-starrocks")
            .remove(0),
        };
        let mut child = Command::new(program)
            .args(["--user", "admin", "--password", "secret", "--exit-on-stdin-eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("stand-in");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout"))
            .read_line(&mut line)
            .expect("a ready line");
        let ready: Value = serde_json::from_str(&line).expect(&line);
        let address = |name: &str| ready[name].as_str().expect(name).to_owned();
        let mysql = address("mysql");
        let client = StarRocksClient::new(&StarRocksOptions {
            endpoints: vec![mysql.clone()],
            user: "admin".into(),
            password: "secret".into(),
        })
        .expect("a client");
        Self {
            child,
            mysql,
            admin: address("admin"),
            client,
        }
    }

    /// As somebody else would.
    async fn sql(&self, sql: &str) -> Vec<mysql_async::Row> {
        let (host, port) = self.mysql.rsplit_once(':').expect("host:port");
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port.parse().expect("a port"))
            .user(Some("admin"))
            .pass(Some("secret"))
            .prefer_socket(false);
        let mut connection = mysql_async::Conn::new(options).await.expect("a connection");
        connection
            .query(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.admin);
        let client = reqwest::Client::new();
        let answer = client.post(&url).json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// One pass of the controller over the object; its status is stored in it, as the API server would.
    async fn pass(&self, table: &mut StarRocksTable) -> StarRocksTableStatus {
        let refs = refs();
        let valid = validate(table, &refs).expect("valid");
        let seen = align(&valid, &self.client).await;
        let next = status(table, &refs, &valid, &seen, Timestamp::UNIX_EPOCH);
        table.status = Some(next.clone());
        next
    }
}

fn refs() -> Referenced {
    let platform = serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
        "metadata": {"name": "main", "namespace": "tributary"},
        "spec": {
            "ownerID": "test", "kafka": {"bootstrapServers": ["k:9092"]},
            "connect": {"url": "http://c:8083", "sourceSecrets": {"type": "Mirrored"}},
            "starrocks": {"hot": {
                "httpEndpoints": ["http://f:8030"], "mysqlEndpoints": ["f:9030"], "replicationNum": 1,
                "adminCredentialsSecretRef": {"name": "a"}, "loadCredentialsSecretRef": {"name": "l"}}},
        },
    }))
    .expect("a platform");
    Referenced {
        platform: Some(Arc::new(platform)),
        namespace_labels: None,
        tenants: BTreeSet::new(),
        admin: None,
        writers: 1,
    }
}

fn table(extra: Value) -> StarRocksTable {
    let mut spec = json!({
        "platformRef": {"name": "main"}, "database": "shop", "table": "orders", "primaryKey": ["order_id"],
        "columns": [
            {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
            {"name": "total", "type": "BIGINT"},
        ],
    });
    spec.as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
        "metadata": {"name": "orders", "namespace": "tributary", "generation": 1}, "spec": spec,
    }))
    .expect("a table")
}

/// The spec edited: another column, another generation.
fn add_column(table: &mut StarRocksTable, name: &str) {
    let column = json!({"name": name, "type": "VARCHAR(64)"});
    table
        .spec
        .template
        .columns
        .push(serde_json::from_value(column).expect("a column"));
    table.metadata.generation = table.metadata.generation.map(|g| g + 1);
}

fn word(status: &StarRocksTableStatus, kind: &str) -> String {
    find(&status.conditions, kind)
        .map(|c| format!("{}/{}", c.status, c.reason))
        .unwrap_or_default()
}

fn message(status: &StarRocksTableStatus, kind: &str) -> String {
    find(&status.conditions, kind)
        .map(|c| c.message.clone())
        .unwrap_or_default()
}

fn live(status: &StarRocksTableStatus) -> Vec<String> {
    status
        .live
        .as_ref()
        .map(|l| l.columns.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_grows_with_its_spec_and_what_others_do_is_told() {
    let starrocks = StarRocks::start();
    let mut orders = table(json!({}));
    let made = starrocks.pass(&mut orders).await;
    assert_eq!(
        (word(&made, "Ready"), word(&made, "InSync")),
        ("True/InSync".into(), "True/InSync".into())
    );
    assert_eq!(live(&made), ["order_id", "total"]);
    assert_eq!(word(&made, "GrantsApplied"), "True/NotConfigured");

    // Fast schema evolution: one statement, and it is there.
    add_column(&mut orders, "city");
    let wider = starrocks.pass(&mut orders).await;
    assert_eq!(word(&wider, "InSync"), "True/InSync");
    assert_eq!(live(&wider), ["order_id", "total", "city"]);

    // Somebody drops a column: told, not restored, and no mapping names it.
    starrocks.sql("ALTER TABLE shop.orders DROP COLUMN city").await;
    for _ in 0..2 {
        let drifted = starrocks.pass(&mut orders).await;
        assert_eq!(word(&drifted, "InSync"), "False/LiveDrift");
        assert_eq!(word(&drifted, "Ready"), "True/InSync", "the rest still flows");
        assert!(message(&drifted, "InSync").contains("columns (city) were there and are gone"));
        assert_eq!(live(&drifted), ["order_id", "total"]);
    }
    orders.spec.template.drift = Some(tributary_crds::template::Drift::Enforce);
    let restored = starrocks.pass(&mut orders).await;
    assert_eq!(live(&restored), ["order_id", "total", "city"]);
    orders.spec.template.drift = None;

    // An edit that has no statement waits, and the table goes on as it was.
    orders.spec.template.primary_key = vec!["total".into(), "order_id".into()];
    orders.spec.template.columns[1].value = Some("1".into());
    orders.metadata.generation = Some(9);
    let waiting = starrocks.pass(&mut orders).await;
    assert_eq!(word(&waiting, "InSync"), "False/AwaitingApproval");
    assert_eq!(
        word(&waiting, "Ready"),
        "False/AwaitingApproval",
        "its mapping must not run"
    );
    assert!(message(&waiting, "InSync").contains("class Rebuild needs an approved SchemaChange"));

    // The whole table gone: no empty one takes its place.
    let mut orders = table(json!({}));
    orders.status = Some(restored);
    starrocks.sql("DROP TABLE shop.orders").await;
    let gone = starrocks.pass(&mut orders).await;
    assert_eq!(word(&gone, "Exists"), "False/LiveDrift");
    assert!(message(&gone, "Exists").contains("RECOVER TABLE"));
    orders.spec.template.drift = Some(tributary_crds::template::Drift::Enforce);
    assert_eq!(word(&starrocks.pass(&mut orders).await, "Ready"), "True/InSync");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_alter_is_watched_to_its_end_and_tried_again_when_it_is_cancelled() {
    let starrocks = StarRocks::start();
    let mut orders = table(json!({"properties": {"fast_schema_evolution": "false"}}));
    starrocks.pass(&mut orders).await;
    add_column(&mut orders, "city");
    let running = starrocks.pass(&mut orders).await;
    assert_eq!(word(&running, "InSync"), "False/SchemaJobRunning");
    assert_eq!(word(&running, "Ready"), "True/InSync");
    assert_eq!(live(&running), ["order_id", "total"], "no mapping names it yet");
    let job = running.job.clone().expect("a job");
    let id = job.split(' ').next().expect("an id").to_owned();

    // A second pass sends nothing: the same job goes on.
    let again = starrocks.pass(&mut orders).await;
    assert_eq!(
        again.job.as_ref().and_then(|j| j.split(' ').next()),
        Some(id.as_str())
    );

    let body = json!({"message": "Alter job conflicts with partition creation"});
    starrocks.post(&format!("/alter/{id}/cancel"), body).await;
    let cancelled = starrocks.pass(&mut orders).await;
    assert_eq!(word(&cancelled, "InSync"), "False/SchemaJobBlocked");
    let said = message(&cancelled, "InSync");
    assert!(
        said.contains("conflicts with partition creation; it is sent again 10 s after"),
        "{said}"
    );

    // By hand, as the pause would end: another job, to its end.
    starrocks
        .sql("ALTER TABLE shop.orders ADD COLUMN city VARCHAR(64) NULL")
        .await;
    assert_eq!(
        word(&starrocks.pass(&mut orders).await, "InSync"),
        "False/SchemaJobRunning"
    );
    for _ in 0..5 {
        starrocks.post("/alter/tick", json!({})).await;
    }
    let done = starrocks.pass(&mut orders).await;
    assert_eq!(word(&done, "InSync"), "True/InSync");
    assert_eq!(live(&done), ["order_id", "total", "city"]);
    assert_eq!(done.job, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_get_what_the_spec_says_on_a_table_or_its_view() {
    let starrocks = StarRocks::start();
    let mut orders = table(json!({
        "deletes": "Soft", "grants": [{"role": "readers", "privileges": ["SELECT"]}],
    }));
    let unknown = starrocks.pass(&mut orders).await;
    assert_eq!(
        word(&unknown, "Ready"),
        "True/InSync",
        "a role that is missing stops no rows"
    );
    assert_eq!(word(&unknown, "GrantsApplied"), "False/DDLRefused");
    assert!(message(&unknown, "GrantsApplied").contains("Create the role"));

    starrocks.sql("CREATE ROLE readers").await;
    let granted = starrocks.pass(&mut orders).await;
    assert_eq!(word(&granted, "GrantsApplied"), "True/InSync");
    assert_eq!(granted.grants.len(), 1);
    let lines: Vec<String> = starrocks
        .sql("SHOW GRANTS FOR ROLE readers")
        .await
        .iter()
        .filter_map(|row| row.get::<String, _>("Grants"))
        .collect();
    assert!(
        lines.iter().any(|l| l.contains("ON VIEW shop.orders")),
        "{lines:?}"
    );

    // The view shows rows that are not deleted.
    starrocks
        .sql("INSERT INTO shop.orders__rows (order_id, total, _deleted) VALUES ('a', 1, NULL), ('b', 2, true), ('c', 3, false)")
        .await;
    let rows = starrocks.sql("SELECT order_id FROM shop.orders ORDER BY 1").await;
    let ids: Vec<String> = rows.iter().filter_map(|r| r.get(0)).collect();
    assert_eq!(ids, ["a", "c"]);
    add_column(&mut orders, "city");
    assert_eq!(word(&starrocks.pass(&mut orders).await, "InSync"), "True/InSync");
    starrocks.sql("SELECT city FROM shop.orders").await;

    orders.spec.template.grants.clear();
    let revoked = starrocks.pass(&mut orders).await;
    assert_eq!(word(&revoked, "GrantsApplied"), "True/NotConfigured");
    assert_eq!(revoked.grants, []);
    let left = starrocks.sql("SHOW GRANTS FOR ROLE readers").await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_exist_are_adopted_by_policy_and_marked() {
    let starrocks = StarRocks::start();
    starrocks.sql("CREATE DATABASE shop").await;
    starrocks
        .sql(
            "CREATE TABLE shop.orders (order_id VARCHAR(24) NOT NULL, total BIGINT NULL) ENGINE=OLAP PRIMARY KEY (order_id) \
             COMMENT \"by hand\" DISTRIBUTED BY HASH(order_id) PROPERTIES (\"replication_num\" = \"1\", \"fast_schema_evolution\" = \"true\")",
        )
        .await;
    let mut orders = table(json!({}));
    let refused = starrocks.pass(&mut orders).await;
    assert_eq!(
        word(&refused, "Exists"),
        "False/TableConflict",
        "it lacks _ver and _extra"
    );
    orders.spec.template.adoption = Some(tributary_crds::template::Adoption::IfCompatible);
    let adopted = starrocks.pass(&mut orders).await;
    assert_eq!(word(&adopted, "InSync"), "True/InSync");
    let mut other = table(json!({}));
    other.metadata.name = Some("impostor".into());
    let conflict = starrocks.pass(&mut other).await;
    assert_eq!(word(&conflict, "Exists"), "False/TableConflict");
    assert!(message(&conflict, "Exists").contains("belongs to tributary:test/tributary/orders"));
}
