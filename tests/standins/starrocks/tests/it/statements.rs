//! DDL: what is accepted, refused, and shown.

use crate::exhibit::Exhibit;

#[tokio::test(flavor = "multi_thread")]
async fn show_create_repeats_the_table_with_its_defaults() {
    let x = Exhibit::prepared(&[
        "CREATE TABLE `t` (`id` VARCHAR(24) NOT NULL COMMENT \"Mongo _id\", `v` DECIMAL(38,9) DEFAULT \"1\", `j` JSON NULL) \
         ENGINE=OLAP PRIMARY KEY(`id`) COMMENT \"orders\" DISTRIBUTED BY HASH(`id`) BUCKETS 2 \
         PROPERTIES(\"replication_num\"=\"1\")",
    ])
    .await;
    let shown = x.sql("SHOW CREATE TABLE t").await;
    assert_eq!(
        shown[0][1],
        "CREATE TABLE `t` (\n  `id` varchar(24) NOT NULL COMMENT \"Mongo _id\",\n  `v` decimal(38, 9) NULL DEFAULT \"1\" \
         COMMENT \"\",\n  `j` json NULL COMMENT \"\"\n) ENGINE=OLAP \nPRIMARY KEY(`id`)\nCOMMENT \"orders\"\nDISTRIBUTED BY \
         HASH(`id`) BUCKETS 2 \nPROPERTIES (\n\"compression\" = \"LZ4\",\n\"enable_persistent_index\" = \"true\",\n\
         \"fast_schema_evolution\" = \"true\",\n\"replicated_storage\" = \"true\",\n\"replication_num\" = \"1\"\n);"
    );
    x.sql("DROP TABLE t").await;
    x.sql(shown[0][1].trim_end_matches(';')).await;
    assert_eq!(
        x.sql("SHOW CREATE TABLE t").await,
        shown,
        "what is shown creates the same table"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_speak_the_servers_words() {
    let x = Exhibit::prepared(&[]).await;
    for (columns_and_rest, text) in [
        (
            "(v INT, id INT) PRIMARY KEY(id)",
            "Key columns must be the first few columns of the schema and the order",
        ),
        (
            "(id DOUBLE) PRIMARY KEY(id)",
            "primary key column[id] type not supported: double",
        ),
        (
            "(id INT NULL) PRIMARY KEY(id)",
            "primary key column[id] cannot be nullable",
        ),
        (
            "(id INT, v INT) PRIMARY KEY(id) DISTRIBUTED BY HASH(v)",
            "Distribution column[v] is not key column",
        ),
        (
            "(id INT) PRIMARY KEY(id) DISTRIBUTED BY RANDOM",
            "PRIMARY KEY must use hash distribution",
        ),
        (
            "(id INT, dt DATE) PRIMARY KEY(id) PARTITION BY date_trunc('day', dt)",
            "partition column[dt] must be key column",
        ),
        (
            "(id INT, Foo INT, foo INT) PRIMARY KEY(id)",
            "Duplicate column name 'foo'",
        ),
        (
            "(id INT, __op INT) PRIMARY KEY(id)",
            "Incorrect column name '__op'",
        ),
        (
            "(id INT, j JSON DEFAULT \"{}\") PRIMARY KEY(id)",
            "Type 'json' does not support default value",
        ),
        (
            "(id INT) PRIMARY KEY(id) PROPERTIES(\"enable_persistent_index\"=\"false\")",
            "In-Memory index is not supported",
        ),
        (
            "(id INT) PRIMARY KEY(id) PROPERTIES(\"colour\"=\"red\")",
            "Unknown properties: {colour=red}",
        ),
        (
            "(id INT, s VARCHAR(1048577)) PRIMARY KEY(id)",
            "Varchar size must be <= 1048576: 1048577",
        ),
        (
            "(id INT, d DECIMAL(39,1)) PRIMARY KEY(id)",
            "DECIMAL's precision should range from 1 to 38",
        ),
        (
            "(id INT) PRIMARY KEY(id) BUCKETS 3",
            "Getting syntax error at line 1, column",
        ),
    ] {
        let error = x
            .try_sql(&format!("CREATE TABLE bad {columns_and_rest}"))
            .await
            .unwrap_err();
        assert!(error.contains(text), "{columns_and_rest}: {error}");
    }
    assert_eq!(x.select("SHOW TABLES FROM d").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_evolve_at_once() {
    let x = Exhibit::with_table().await;
    x.load("{\"id\":1,\"name\":\"a\",\"v\":1}").await;
    x.sql("ALTER TABLE d.t ADD COLUMN w INT DEFAULT \"3\" AFTER name, DROP COLUMN v")
        .await;
    assert_eq!(x.select("SELECT * FROM t").await, "1|a|3");
    x.load("{\"id\":2,\"name\":\"b\",\"v\":5,\"w\":6}").await;
    x.sql("ALTER TABLE t ADD COLUMN (v BIGINT NULL, z STRING)").await;
    assert_eq!(
        x.select("SELECT * FROM t ORDER BY id").await,
        "1|a|3|NULL|NULL;2|b|6|NULL|NULL",
        "the old v does not come back"
    );
    x.sql("ALTER TABLE t RENAME COLUMN w TO width").await;
    x.sql("ALTER TABLE t MODIFY COLUMN width VARCHAR(10) NULL DEFAULT \"3\" COMMENT \"wider\"")
        .await;
    x.finish_jobs();
    assert_eq!(x.select("SELECT width FROM t ORDER BY id").await, "3;6");
    assert_eq!(
        x.select("SELECT column_name, COLUMN_TYPE, column_comment FROM information_schema.columns WHERE TABLE_NAME='t' ORDER BY ordinal_position")
            .await,
        "id|bigint(20)|;name|varchar(20)|;width|varchar(10)|wider;v|bigint(20)|;z|varchar(65533)|"
    );
    let jobs = x.sql("SHOW ALTER TABLE COLUMN FROM d WHERE TableName = \"t\" ORDER BY CreateTime DESC, JobId DESC LIMIT 1").await;
    assert_eq!((jobs.len(), jobs[0][9].as_str()), (1, "FINISHED"));
    for (clause, text) in [
        ("ADD COLUMN w INT", "Column name [w] already exists in column id"),
        ("ADD COLUMN id2 INT NOT NULL", "no default value"),
        ("ADD COLUMN NAME INT", "Duplicate column name 'NAME'"),
        ("DROP COLUMN id", "Can not drop key column id"),
        ("DROP COLUMN nope", "Column does not exists: nope"),
        ("MODIFY COLUMN v INT", "Can not change BIGINT to INT"),
        ("MODIFY COLUMN name VARCHAR(5)", "Cannot shorten string length"),
        (
            "MODIFY COLUMN v BIGINT NULL DEFAULT \"1\"",
            "Can not change default value",
        ),
        ("SET (\"fast_schema_evolution\"=\"false\")", "cannot be altered"),
        (
            "DISTRIBUTED BY HASH(id) BUCKETS 3",
            "the stand-in does not implement",
        ),
    ] {
        let error = x.try_sql(&format!("ALTER TABLE t {clause}")).await.unwrap_err();
        assert!(error.contains(text), "{clause}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_change_and_ids_stay() {
    let x = Exhibit::with_table().await;
    x.sql("CREATE TABLE u LIKE t").await;
    x.load("{\"id\":1}").await;
    let ids = "SELECT TABLE_NAME, TABLE_ID FROM information_schema.tables_config WHERE TABLE_SCHEMA='d' ORDER BY TABLE_NAME";
    let before = x.sql(ids).await;
    x.sql("ALTER TABLE t SWAP WITH u").await;
    let after = x.sql(ids).await;
    assert_eq!((&before[0][1], &before[1][1]), (&after[1][1], &after[0][1]));
    assert_eq!(x.select("SELECT count(*) FROM u").await, "1");
    x.sql("ALTER TABLE u RENAME kept").await;
    x.sql("DROP TABLE kept").await;
    assert!(
        x.try_sql("SELECT 1 FROM kept")
            .await
            .unwrap_err()
            .contains("Unknown table 'd.kept'")
    );
    x.sql("RECOVER TABLE kept").await;
    assert_eq!(x.select("SELECT count(*) FROM kept").await, "1");
    x.sql("TRUNCATE TABLE kept").await;
    assert_eq!(x.select("SELECT count(*) FROM kept").await, "0");
    x.sql("ALTER TABLE kept COMMENT = \"note\"").await;
    assert_eq!(
        x.select("SELECT TABLE_COMMENT FROM information_schema.tables WHERE table_name='kept'")
            .await,
        "note"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_and_delete_are_loads_of_their_own() {
    let x = Exhibit::with_table().await;
    x.sql("INSERT INTO t VALUES (1, 'a', 10), (2, 'b', NULL)").await;
    x.sql("INSERT INTO t (id, v) SELECT id + 10, v FROM t").await;
    x.sql("DELETE FROM t WHERE id IN (1, 12)").await;
    assert_eq!(
        x.select("SELECT * FROM t ORDER BY id").await,
        "2|b|NULL;11|NULL|10"
    );
    assert!(
        x.try_sql("INSERT INTO t VALUES (1, 'far too long for the column', 1)")
            .await
            .unwrap_err()
            .contains("too long")
    );
}
