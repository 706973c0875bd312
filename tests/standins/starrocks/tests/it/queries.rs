//! SELECTs and what clients ask at connect.

use crate::exhibit::Exhibit;

#[tokio::test(flavor = "multi_thread")]
async fn joins_groups_and_views() {
    let x = Exhibit::prepared(&[
        "CREATE TABLE orders (id BIGINT, customer VARCHAR(10), Amount DECIMAL(10,2), at DATETIME) PRIMARY KEY(id)",
        "CREATE TABLE customers (name VARCHAR(10), city VARCHAR(10)) PRIMARY KEY(name)",
        "INSERT INTO orders VALUES (1,'a',1.50,'2024-01-01'), (2,'a',2.25,'2024-01-02'), (3,'b',4,'2024-01-03')",
        "INSERT INTO customers VALUES ('a','Bern'), ('c','Rom')",
        "CREATE VIEW totals AS SELECT customer, sum(amount) AS total, COUNT(*) n FROM orders GROUP BY customer",
        "CREATE VIEW named (who, place) AS SELECT o.customer, c.city FROM totals o LEFT JOIN customers c ON o.customer = c.name",
    ])
    .await;
    assert_eq!(
        x.select("SELECT * FROM totals ORDER BY customer").await,
        "a|3.75|2;b|4.00|1"
    );
    assert_eq!(
        x.select("SELECT who, place FROM d.named ORDER BY WHO").await,
        "a|Bern;b|NULL"
    );
    assert_eq!(
        x.select("SELECT max(AMOUNT), date(at) FROM orders WHERE at >= '2024-01-02' GROUP BY 2 ORDER BY 2")
            .await,
        "2.25|2024-01-02;4.00|2024-01-03"
    );
    assert_eq!(
        x.select("SELECT if(amount > 2, 'big', 'small'), ifnull(NULL, 'x') FROM orders ORDER BY id LIMIT 1")
            .await,
        "small|x"
    );
    assert_eq!(
        x.select("WITH big AS (SELECT id FROM orders WHERE Amount > 2) SELECT count(*) FROM big")
            .await,
        "2"
    );
    let mut session = x.session();
    let outcome = session
        .execute("SELECT ID, COUNT(*), customer AS who, id FROM orders GROUP BY id, customer")
        .await
        .unwrap();
    let standin_starrocks::sql::session::Outcome::Rows(answer) = outcome else {
        panic!("rows")
    };
    assert_eq!(
        answer.headers,
        ["ID", "count(*)", "who", "id"],
        "headers as written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_answers_real_clients() {
    let x = Exhibit::with_table().await;
    // dbt
    assert_eq!(
        x.select("select distinct schema_name from information_schema.schemata where schema_name = 'd'")
            .await,
        "d"
    );
    assert_eq!(
        x.select(
            "select tbl.table_name, case when tbl.table_type = 'BASE TABLE' then 'table' else 'view' end as table_type \
             from information_schema.tables tbl left join default_catalog.information_schema.materialized_views mv \
             on tbl.table_name = mv.TABLE_NAME where tbl.table_schema = 'd'"
        )
        .await,
        "t|table"
    );
    assert_eq!(
        x.select("select column_name, data_type, character_maximum_length from INFORMATION_SCHEMA.columns where table_schema = 'd' and table_name = 't' order by ordinal_position").await,
        "id|bigint|NULL;name|varchar|20;v|bigint|NULL"
    );
    // Flink connector
    assert_eq!(
        x.select(
            "select `COLUMN_NAME`, `ORDINAL_POSITION`, `COLUMN_KEY`, `DATA_TYPE`, `COLUMN_SIZE`, `DECIMAL_DIGITS` from \
             `information_schema`.`COLUMNS` where `TABLE_SCHEMA`='d' and `TABLE_NAME`='t';"
        )
        .await,
        "id|1|PRI|bigint|19|0;name|2||varchar|20|NULL;v|3||bigint|19|0"
    );
    // RisingWave
    assert_eq!(
        x.select("select table_model, primary_key, sort_key from information_schema.tables_config where table_name='t'").await,
        "PRIMARY_KEYS|`id`|`id`"
    );
    assert_eq!(x.select("select current_version() as ver").await, "3.5.0-5be9c5e");
    assert_eq!(
        x.select("SELECT @@tx_isolation, DATABASE()").await,
        "REPEATABLE-READ|d"
    );
    assert_eq!(
        x.sql("ADMIN SHOW FRONTEND CONFIG LIKE 'run_mode'").await[0][2],
        "shared_nothing"
    );
    assert_eq!(
        x.select("SHOW VARIABLES LIKE 'lower_case_table_names'").await,
        "lower_case_table_names|0"
    );
    assert_eq!(x.select("SHOW FULL TABLES FROM d").await, "t|BASE TABLE");
    assert_eq!(
        x.select("DESC t").await,
        "id|bigint(20)|NO|true|NULL|;name|varchar(20)|YES|false|NULL|;v|bigint(20)|YES|false|NULL|"
    );
    x.load_with("t", &[("label", "shown")], "{\"id\":1}").await;
    assert_eq!(
        x.select("SELECT LABEL, STATE, SINK_ROWS, TYPE FROM information_schema.loads WHERE DB_NAME='d'")
            .await,
        "shown|FINISHED|1|STREAM_LOAD"
    );
    x.sql("CREATE OR REPLACE VIEW v AS SELECT id FROM t").await;
    assert_eq!(
        x.select("SELECT view_definition, SECURITY_TYPE FROM information_schema.views WHERE table_name='v'")
            .await,
        "SELECT id FROM t|"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_what_is_missing() {
    let x = Exhibit::with_table().await;
    for (sql, text) in [
        ("SELECT * FROM nope", "Unknown table 'd.nope'"),
        ("SELECT * FROM nodb.t", "Unknown database 'nodb'"),
        ("SELEC 1", "Getting syntax error at line 1, column 0"),
        ("SELECT nope FROM t", "nope"),
        ("USE nodb", "Unknown database 'nodb'"),
        ("SUBMIT TASK x", "the stand-in does not implement SUBMIT TASK"),
    ] {
        let error = x.try_sql(sql).await.unwrap_err();
        assert!(error.contains(text), "{sql}: {error}");
    }
}

mod model {
    //! Whatever the loads, the table is what a map would be.

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::exhibit::Exhibit;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn loads_are_a_map(batches in prop::collection::vec(prop::collection::vec((0_i64..6, prop::option::of(0_i64..100)), 1..8), 1..6)) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let x = Exhibit::with_table().await;
                let mut model: BTreeMap<i64, i64> = BTreeMap::new();
                for batch in &batches {
                    let mut body = String::new();
                    for (id, v) in batch {
                        match v {
                            Some(v) => {
                                body.push_str(&format!("{{\"id\":{id},\"v\":{v}}}"));
                                model.insert(*id, *v);
                            }
                            None => {
                                body.push_str(&format!("{{\"id\":{id},\"__op\":1}}"));
                                model.remove(id);
                            }
                        }
                    }
                    assert_eq!(x.load(&body).await["Status"], "Success");
                }
                let expected: Vec<String> = model.iter().map(|(id, v)| format!("{id}|{v}")).collect();
                assert_eq!(x.select("SELECT id, v FROM t ORDER BY id").await, expected.join(";"));
            });
        }
    }
}
