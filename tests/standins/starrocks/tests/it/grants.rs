//! Users, roles and grants, through SQL, MySQL and HTTP.

use serde_json::Value as Json;

use crate::exhibit::{Exhibit, run};
use crate::mysql_client::Client;

async fn granted(statements: &[&str]) -> Exhibit {
    let x = Exhibit::with_table().await;
    x.sql("CREATE USER 'loader'@'%' IDENTIFIED BY 'secret'").await;
    for statement in statements {
        x.sql(statement).await;
    }
    x
}

async fn as_loader(x: &Exhibit, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let mut session = x.session();
    session.user = "loader".into();
    run(&mut session, sql).await
}

const HINT: &str = "for this operation. Please ask the admin to grant permission(s) or try activating existing roles using \
                    <set [default] role>. Current role(s): NONE. Inactivated role(s): NONE.";

#[tokio::test(flavor = "multi_thread")]
async fn a_load_user_loads_and_reads_what_it_was_granted_and_makes_no_tables() {
    let x = granted(&[
        "GRANT SELECT, INSERT ON TABLE d.t TO USER 'loader'@'%'",
        "CREATE TABLE u (id INT) PRIMARY KEY(id)",
    ])
    .await;
    as_loader(&x, "INSERT INTO d.t VALUES (1, 'a', 1)").await.unwrap();
    assert_eq!(as_loader(&x, "SELECT id FROM d.t").await.unwrap(), [["1"]]);
    for (sql, privilege, on) in [
        (
            "CREATE TABLE d.n (id INT) PRIMARY KEY(id)",
            "CREATE TABLE",
            "DATABASE d",
        ),
        ("CREATE DATABASE e", "CREATE DATABASE", "CATALOG default_catalog"),
        ("ALTER TABLE d.t ADD COLUMN w INT", "ALTER", "TABLE t"),
        ("DROP TABLE d.t", "DROP", "TABLE t"),
        ("DELETE FROM d.t WHERE id = 1", "DELETE", "TABLE t"),
        ("SELECT * FROM d.u", "SELECT", "TABLE u"),
        ("SHOW CREATE TABLE d.u", "ANY", "TABLE u"),
        ("CREATE USER x", "GRANT", "SYSTEM"),
        ("GRANT SELECT ON TABLE d.t TO USER loader", "GRANT", "SYSTEM"),
        ("SHOW BACKENDS", "OPERATE", "SYSTEM"),
    ] {
        let error = as_loader(&x, sql).await.unwrap_err();
        assert_eq!(
            error,
            format!("Access denied; you need (at least one of) the {privilege} privilege(s) on {on} {HINT}"),
            "{sql}"
        );
    }
    assert_eq!(as_loader(&x, "SHOW TABLES FROM d").await.unwrap(), [["t"]]);
    assert_eq!(
        as_loader(
            &x,
            "SELECT DISTINCT TABLE_NAME FROM information_schema.columns WHERE TABLE_SCHEMA = 'd'"
        )
        .await
        .unwrap(),
        [["t"]]
    );
    x.sql("REVOKE INSERT ON TABLE d.t FROM USER loader").await;
    assert!(as_loader(&x, "INSERT INTO d.t VALUES (2, 'a', 1)").await.is_err());
}

/// stream-load-and-relay.md §1.1: no INSERT privilege is the same 401 as bad credentials, with another text.
#[tokio::test(flavor = "multi_thread")]
async fn stream_load_needs_insert() {
    let x = granted(&[]).await;
    let load = |door: &str, password: &str, body: &'static str| {
        let url = format!("{door}/api/d/t/_stream_load");
        let request = x
            .http
            .put(url)
            .basic_auth("loader", Some(password))
            .header("expect", "100-continue");
        request.header("format", "json").body(body).send()
    };
    let [fe, be] = [&x.standin.addresses.fe_http, &x.standin.addresses.be_http];
    let refused = load(fe, "secret", "").await.unwrap();
    assert_eq!(refused.status(), 401);
    let refused: Json = refused.json().await.unwrap();
    assert_eq!(
        refused["msg"],
        "Access denied for user 'loader'@'%'. Please ask the admin to grant permission(s) or try activating existing roles \
         using <set [default] role>. Current role(s): []. Inactivated role(s): []."
    );
    let refused: Json = load(be, "secret", "{\"id\":1}")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(refused["Status"], "Fail");
    assert!(
        refused["Message"]
            .as_str()
            .unwrap()
            .contains("the INSERT privilege(s) on TABLE t"),
        "{refused}"
    );
    x.sql("GRANT INSERT ON ALL TABLES IN DATABASE d TO USER loader")
        .await;
    assert_eq!(load(fe, "secret", "").await.unwrap().status(), 307);
    let done: Json = load(be, "secret", "{\"id\":1}")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(done["Status"], "Success", "{done}");
    x.sql("ALTER USER loader IDENTIFIED BY 'other'").await;
    assert_eq!(load(fe, "secret", "").await.unwrap().status(), 401);
    x.sql("DROP USER loader").await;
    assert_eq!(load(fe, "other", "").await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_grants_lists_roles_and_privileges_and_roles_count_when_active() {
    let x = granted(&[
        "CREATE ROLE IF NOT EXISTS writer",
        "GRANT INSERT ON TABLE d.t TO ROLE writer",
        "GRANT 'writer' TO USER 'loader'@'%'",
        "GRANT CREATE TABLE, DROP ON DATABASE d TO USER loader",
        "CREATE VIEW d.v AS SELECT id FROM d.t",
        "GRANT SELECT ON VIEW d.v TO loader",
    ])
    .await;
    let expected = [
        "'loader'@'%'|NULL|GRANT 'writer' TO 'loader'@'%'",
        "'loader'@'%'|default_catalog|GRANT CREATE TABLE, DROP ON DATABASE d TO USER 'loader'@'%'",
        "'loader'@'%'|default_catalog|GRANT SELECT ON VIEW d.v TO USER 'loader'@'%'",
    ];
    assert_eq!(x.select("SHOW GRANTS FOR 'loader'@'%'").await, expected.join(";"));
    assert_eq!(as_loader(&x, "SHOW GRANTS").await.unwrap().len(), 3);
    assert_eq!(
        x.select("SHOW GRANTS FOR ROLE writer").await,
        "writer|default_catalog|GRANT INSERT ON TABLE d.t TO ROLE 'writer'"
    );
    // The view reads its table in its own right.
    assert!(as_loader(&x, "SELECT id FROM d.v").await.unwrap().is_empty());
    assert!(as_loader(&x, "SELECT id FROM d.t").await.is_err());
    let insert = "INSERT INTO d.t VALUES (1, 'a', 1)";
    assert!(
        as_loader(&x, insert)
            .await
            .unwrap_err()
            .ends_with("Inactivated role(s): [writer].")
    );
    as_loader(&x, &format!("SET ROLE ALL; {insert}")).await.unwrap();
    x.sql("SET DEFAULT ROLE ALL TO loader").await;
    as_loader(&x, insert).await.unwrap();
    for (sql, text) in [
        (
            "CREATE USER loader",
            "Operation CREATE USER failed for 'loader'@'%' : user already exists",
        ),
        (
            "DROP USER nobody",
            "Operation DROP USER failed for 'nobody'@'%' : user not exists",
        ),
        (
            "GRANT SELECT ON TABLE d.t TO USER nobody",
            "cannot find user 'nobody'@'%'",
        ),
        ("GRANT FLY ON TABLE d.t TO USER loader", "Cant grant/revoke FLY"),
    ] {
        assert!(x.try_sql(sql).await.unwrap_err().contains(text), "{sql}");
    }
    x.sql("CREATE USER IF NOT EXISTS loader").await;
}

/// starrocks-ddl-and-schema-evolution.md §1.4: grants are bound to the id, so SWAP takes them along with the old data.
#[tokio::test(flavor = "multi_thread")]
async fn grants_follow_the_table_id_through_a_swap() {
    let x = granted(&[
        "GRANT SELECT ON TABLE d.t TO USER loader",
        "CREATE TABLE t2 (id INT) PRIMARY KEY(id)",
        "ALTER TABLE t SWAP WITH t2",
    ])
    .await;
    assert!(as_loader(&x, "SELECT * FROM d.t").await.is_err());
    assert!(as_loader(&x, "SELECT * FROM d.t2").await.is_ok());
    assert!(
        x.select("SHOW GRANTS FOR loader")
            .await
            .ends_with("GRANT SELECT ON TABLE d.t2 TO USER 'loader'@'%'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_gets_error_5203() {
    let x = granted(&["GRANT SELECT ON TABLE d.t TO USER loader"]).await;
    let client = Client::new(&x.standin.addresses.mysql);
    let error = client
        .run(
            "loader",
            "secret",
            Some("d"),
            "CREATE TABLE n (id INT) PRIMARY KEY(id)",
        )
        .unwrap_err();
    assert!(
        error.contains("ERROR 5203 (42000)") && error.contains("CREATE TABLE privilege(s) on DATABASE d"),
        "{error}"
    );
    assert!(
        client
            .run("loader", "secret", Some("d"), "SELECT count(*) FROM t")
            .is_ok()
    );
    x.sql("CREATE DATABASE other").await;
    assert!(
        client
            .run("loader", "secret", Some("other"), "SELECT 1")
            .unwrap_err()
            .contains("5203")
    );
}
