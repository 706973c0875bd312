//! A stock MySQL client (Debian's mariadb) over the wire.

use std::process::Command;

use crate::exhibit::Exhibit;

pub(crate) struct Client {
    port: String,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        tributary_stage::setup::debian(&[("mariadb-client", "mariadb")]).expect("mariadb-client");
        Self {
            port: address.rsplit(':').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn run(
        &self,
        user: &str,
        password: &str,
        database: Option<&str>,
        sql: &str,
    ) -> Result<String, String> {
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "-h",
            "127.0.0.1",
            "-P",
            &self.port,
            "-u",
            user,
            "--skip-ssl",
            "-B",
            "-e",
            sql,
        ]);
        if !password.is_empty() {
            command.arg(format!("-p{password}"));
        }
        if let Some(database) = database {
            command.args(["-D", database]);
        }
        let output = command.output().expect("mariadb runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_creates_loads_and_reads() {
    let x = Exhibit::new().await;
    let client = Client::new(&x.standin.addresses.mysql);
    let root = |database: Option<&str>, sql: &str| client.run("root", "", database, sql);
    root(None, "CREATE DATABASE gold").unwrap();
    root(
        Some("gold"),
        "CREATE TABLE orders (id BIGINT NOT NULL, name VARCHAR(20), amount DECIMAL(10,2), at DATETIME, ok BOOLEAN) \
         PRIMARY KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES('replication_num'='1')",
    )
    .unwrap();
    root(None, "INSERT INTO gold.orders VALUES (1, 'a', 1.5, '2024-01-01 00:00:00.5', true), (2, NULL, NULL, NULL, false)").unwrap();
    assert_eq!(
        root(Some("gold"), "SELECT * FROM orders ORDER BY id").unwrap(),
        "id\tname\tamount\tat\tok\n1\ta\t1.50\t2024-01-01 00:00:00.500000\t1\n2\tNULL\tNULL\tNULL\t0\n"
    );
    assert_eq!(
        root(
            None,
            "use gold; show tables; desc orders; select version(), current_version(), database()"
        )
        .unwrap()
        .lines()
        .last(),
        Some("8.0.33\t3.5.0-5be9c5e\tgold")
    );
    assert_eq!(
        root(
            None,
            "SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.tables WHERE TABLE_SCHEMA='gold'"
        )
        .unwrap(),
        "TABLE_NAME\tTABLE_TYPE\tENGINE\norders\tBASE TABLE\tStarRocks\n"
    );
    assert!(
        root(None, "SHOW CREATE TABLE gold.orders")
            .unwrap()
            .contains("PRIMARY KEY(`id`)")
    );
    root(Some("gold"), "ALTER TABLE orders ADD COLUMN note STRING").unwrap();
    assert!(
        root(Some("gold"), "SELECT note FROM orders")
            .unwrap()
            .starts_with("note\nNULL\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_need_their_passwords_and_errors_their_codes() {
    let x = Exhibit::with(|config| {
        config.users.insert("loader".into(), "secret".into());
    })
    .await;
    let client = Client::new(&x.standin.addresses.mysql);
    assert!(client.run("loader", "secret", None, "SELECT 1").is_ok());
    assert!(
        client
            .run("loader", "wrong", None, "SELECT 1")
            .unwrap_err()
            .contains("ERROR 1045 (28000)")
    );
    assert!(client.run("loader", "", None, "SELECT 1").is_err());
    assert!(client.run("nobody", "", None, "SELECT 1").is_err());
    for (sql, code) in [
        ("SELECT * FROM nodb.t", "ERROR 1049"),
        ("DESC information_schema.nope", "ERROR 1146"),
        ("CREATE TABLE t (", "ERROR 1064"),
        ("SELECT * FROM t", "ERROR 1046"),
    ] {
        let error = client.run("root", "", None, sql).unwrap_err();
        assert!(error.contains(code), "{sql}: {error}");
    }
}
