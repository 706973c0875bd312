//! ALTER as jobs (starrocks-ddl-and-schema-evolution.md §1.5).

use serde_json::{Value as Json, json};

use crate::exhibit::{Exhibit, ROOT};

const SLOW: &str = "CREATE TABLE s (id BIGINT NOT NULL, v INT NULL) PRIMARY KEY(id) PROPERTIES(\"fast_schema_evolution\"=\"false\")";

async fn tick(x: &Exhibit) {
    let url = format!("{}/alter/tick", x.standin.addresses.admin);
    assert_eq!(x.http.post(url).send().await.unwrap().status(), 200);
}

/// State and message of the table's newest job.
async fn job(x: &Exhibit, table: &str) -> String {
    let sql =
        format!("SHOW ALTER TABLE COLUMN FROM d WHERE TableName = '{table}' ORDER BY JobId DESC LIMIT 1");
    let rows = x.sql(&sql).await;
    rows.first()
        .map_or(String::new(), |row| format!("{}|{}", row[9], row[10]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_change_is_a_job_of_three_steps_that_hides_its_columns_until_the_end() {
    let x = Exhibit::prepared(&[SLOW]).await;
    x.load_with("s", &[], "{\"id\":1,\"v\":7}").await;
    x.sql("ALTER TABLE s ADD COLUMN w INT DEFAULT \"3\", MODIFY COLUMN v BIGINT NULL")
        .await;
    for state in ["PENDING|", "WAITING_TXN|", "RUNNING|"] {
        assert_eq!(job(&x, "s").await, state);
        let second = x.try_sql("ALTER TABLE s ADD COLUMN z INT").await.unwrap_err();
        assert!(
            second.starts_with("A schema change operation is in progress on the table \"s\""),
            "{second}"
        );
        assert_eq!(
            x.load_with("s", &[], "{\"id\":2,\"v\":8,\"w\":9}").await["Status"],
            "Success"
        );
        assert_eq!(x.select("SELECT * FROM s WHERE id = 1").await, "1|7", "{state}");
        tick(&x).await;
    }
    assert_eq!(job(&x, "s").await, "FINISHED|");
    assert_eq!(x.select("SELECT * FROM s ORDER BY id").await, "1|7|3;2|8|3");
    assert_eq!(
        x.select(
            "SELECT COLUMN_TYPE FROM information_schema.columns WHERE TABLE_NAME='s' AND COLUMN_NAME='v'"
        )
        .await,
        "bigint(20)"
    );
    x.sql("ALTER TABLE s COMMENT = \"free again\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_transaction_blocks_the_job_and_a_load_of_the_job_finds_its_tablets_gone() {
    let x = Exhibit::prepared(&[SLOW]).await;
    let fault = x.fault(json!({"kind": "hold_prepare"})).await;
    let url = format!("{}/api/d/s/_stream_load", x.standin.addresses.be_http);
    let load = |label: &'static str| {
        let request = x
            .http
            .put(&url)
            .header("authorization", ROOT)
            .header("format", "json");
        let request = request.header("label", label).body("{\"id\":1,\"v\":1}");
        tokio::spawn(async move { request.send().await.unwrap().json::<Json>().await.unwrap() })
    };
    let old = load("old");
    x.until("old", "PREPARE").await;
    x.sql("ALTER TABLE s MODIFY COLUMN v BIGINT NULL").await;
    tick(&x).await;
    let during = load("during");
    x.until("during", "PREPARE").await;
    for _ in 0..3 {
        tick(&x).await;
        assert_eq!(
            job(&x, "s").await,
            "WAITING_TXN|",
            "the watershed waits for the old load"
        );
    }
    let cancel = format!("{}/api/d/old/_cancel", x.standin.addresses.fe_http);
    x.http
        .post(cancel)
        .header("authorization", ROOT)
        .send()
        .await
        .unwrap();
    tick(&x).await;
    tick(&x).await;
    assert_eq!(job(&x, "s").await, "FINISHED|");
    x.standin.cluster.faults.remove(fault);
    assert_eq!(old.await.unwrap()["Status"], "Fail");
    let late = during.await.unwrap();
    assert_eq!(late["Status"], "Fail");
    assert!(
        late["Message"]
            .as_str()
            .unwrap()
            .starts_with("Fail to get tablet, perhaps this table is doing schema change"),
        "{late}"
    );
    assert_eq!(
        x.load_with("s", &[("label", "during")], "{\"id\":1,\"v\":1}")
            .await["Status"],
        "Success"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_by_statement_by_partition_and_by_timeout() {
    let x = Exhibit::prepared(&[SLOW]).await;
    x.sql("ALTER TABLE s ADD COLUMN a INT").await;
    x.sql("CANCEL ALTER TABLE COLUMN FROM d.s").await;
    assert_eq!(job(&x, "s").await, "CANCELLED|user cancelled");
    let none = x.try_sql("CANCEL ALTER TABLE COLUMN FROM s").await.unwrap_err();
    assert_eq!(none, "Table[s] is not under SCHEMA_CHANGE.");
    x.sql("ALTER TABLE s ADD COLUMN a INT").await;
    let jobs = x.standin.cluster.jobs.list();
    let url = format!(
        "{}/alter/{}/cancel",
        x.standin.addresses.admin,
        jobs.last().unwrap().id
    );
    let conflict = json!({"message": "Alter job conflicts with partition creation"});
    assert_eq!(
        x.http.post(url).json(&conflict).send().await.unwrap().status(),
        204
    );
    assert_eq!(
        job(&x, "s").await,
        "CANCELLED|Alter job conflicts with partition creation"
    );
    x.sql("ALTER TABLE s ADD COLUMN a INT PROPERTIES(\"timeout\"=\"0\")")
        .await;
    tick(&x).await;
    assert_eq!(job(&x, "s").await, "CANCELLED|Timeout");
    x.sql("ALTER TABLE s ADD COLUMN a INT").await;
    x.sql("DROP TABLE s FORCE").await;
    tick(&x).await;
    assert!(job(&x, "s").await.starts_with("CANCELLED|Table "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_change_is_finished_at_once_and_the_scheduler_ticks_by_itself() {
    let x = Exhibit::prepared(&[SLOW, "CREATE TABLE f (id BIGINT) PRIMARY KEY(id)"]).await;
    x.sql("ALTER TABLE f ADD COLUMN a INT, ADD COLUMN b INT").await;
    assert_eq!(job(&x, "f").await, "FINISHED|");
    x.sql("ALTER TABLE f RENAME COLUMN a TO c").await;
    assert_eq!(
        x.select("SELECT count(*) FROM information_schema.columns WHERE TABLE_NAME='f'")
            .await,
        "3"
    );
    assert_eq!(x.standin.cluster.jobs.list().len(), 1, "RENAME leaves no row");
    x.sql("ADMIN SET FRONTEND CONFIG (\"alter_scheduler_interval_millisecond\" = \"5\")")
        .await;
    x.sql("ALTER TABLE s ADD COLUMN a INT").await;
    let done = async {
        while job(&x, "s").await != "FINISHED|" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), done)
        .await
        .expect("the job ends");
}
