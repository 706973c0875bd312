//! How bodies become rows.

use serde_json::Value as Json;

use crate::exhibit::Exhibit;

fn status(reply: &Json) -> (&str, u64, u64) {
    (
        reply["Status"].as_str().unwrap(),
        reply["NumberLoadedRows"].as_u64().unwrap(),
        reply["NumberFilteredRows"].as_u64().unwrap(),
    )
}

const ALL: &str = "SELECT id, name, v FROM t ORDER BY id";

#[tokio::test(flavor = "multi_thread")]
async fn ndjson_arrays_unknown_and_missing_keys() {
    let x = Exhibit::with_table().await;
    let reply = x
        .load("{\"id\":1,\"name\":\"a\",\"unknown\":{\"x\":1}}\n{\"id\":2,\"v\":5,\"v\":6}")
        .await;
    assert_eq!(status(&reply), ("Success", 2, 0), "{reply}");
    let array = x
        .load_with(
            "t",
            &[("strip_outer_array", "true")],
            "[{\"id\":3},{\"id\":4,\"name\":null}]",
        )
        .await;
    assert_eq!(status(&array), ("Success", 2, 0));
    // Unknown keys are skipped in silence, missing ones are NULL, the first of a repeated key counts.
    assert_eq!(x.select(ALL).await, "1|a|NULL;2|NULL|5;3|NULL|NULL;4|NULL|NULL");
}

#[tokio::test(flavor = "multi_thread")]
async fn op_is_found_by_itself_and_the_last_row_wins() {
    let x = Exhibit::with_table().await;
    x.load("{\"id\":1,\"v\":1}{\"id\":2,\"v\":1,\"__op\":0}").await;
    x.load("{\"id\":1,\"v\":2}{\"id\":1,\"v\":3}{\"id\":2,\"v\":9}{\"id\":2,\"__op\":1}")
        .await;
    assert_eq!(x.select(ALL).await, "1|NULL|3");
    // With `columns` it must be listed, or it is a key like any other unknown one.
    x.load_with("t", &[("columns", "id,v")], "{\"id\":1,\"v\":4,\"__op\":1}")
        .await;
    assert_eq!(x.select(ALL).await, "1|NULL|4");
    x.load_with("t", &[("columns", "id,v,__op")], "{\"id\":1,\"v\":4,\"__op\":1}")
        .await;
    assert_eq!(x.select(ALL).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_decide_between_null_and_default() {
    let x = Exhibit::prepared(&[
        "CREATE TABLE t (id BIGINT, a INT DEFAULT \"7\", b INT NULL, c INT NOT NULL) PRIMARY KEY(id)",
        "CREATE TABLE u (id BIGINT, a INT DEFAULT \"7\", b INT NULL) PRIMARY KEY(id)",
    ])
    .await;
    let no_default = x.load_with("t", &[("columns", "id")], "{\"id\":1}").await;
    assert_eq!(no_default["Message"], "Column has no default value. column: c");
    x.load_with("u", &[("columns", "id, b, temp_column")], "{\"id\":1,\"b\":2}")
        .await;
    x.load_with("u", &[], "{\"id\":2,\"b\":2}").await;
    assert_eq!(
        x.select("SELECT id, a, b FROM u ORDER BY id").await,
        "1|7|2;2|NULL|2"
    );
    let missing = x.load_with("t", &[], "{\"id\":1}").await;
    assert_eq!(missing["Message"], "too many filtered rows");
    let log = x
        .http
        .get(missing["ErrorURL"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(
        log,
        "Error: NULL value in non-nullable column 'c'. Row: {\"id\":1}\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_filters_what_lenient_makes_null() {
    let x = Exhibit::with_table().await;
    let body = "{\"id\":1,\"name\":\"a name of more than twenty bytes\",\"v\":\"x\"}";
    let lenient = x.load(body).await;
    assert_eq!(status(&lenient), ("Success", 1, 0));
    assert_eq!(x.select(ALL).await, "1|NULL|NULL");
    let strict = x.load_with("t", &[("strict_mode", "true")], body).await;
    assert_eq!(status(&strict), ("Fail", 0, 1), "{strict}");
    assert_eq!(strict["Message"], "too many filtered rows");
    let two = format!("{body}{{\"id\":2}}");
    let tolerant = x
        .load_with("t", &[("strict_mode", "true"), ("max_filter_ratio", "0.5")], two)
        .await;
    assert_eq!(status(&tolerant), ("Success", 1, 1));
    assert!(
        tolerant["ErrorURL"]
            .as_str()
            .unwrap()
            .contains("/api/_load_error_log?file=error_log_")
    );
    let broken = x.load("{\"id\":3}{\"id\":").await;
    assert_eq!(status(&broken), ("Fail", 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_primary_keys_fail_the_load() {
    let x = Exhibit::prepared(&["CREATE TABLE t (id VARCHAR(1000)) PRIMARY KEY(id) DISTRIBUTED BY HASH(id)"])
        .await;
    assert_eq!(
        x.load(&format!("{{\"id\":\"{}\"}}", "k".repeat(128))).await["Status"],
        "Success"
    );
    let long = x.load(&format!("{{\"id\":\"{}\"}}", "k".repeat(129))).await;
    assert_eq!(long["Status"], "Fail");
    assert_eq!(long["Message"], "Cancelled: primary key size exceed the limit.");
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_default_to_shanghai() {
    let x = Exhibit::prepared(&["CREATE TABLE t (id BIGINT, at DATETIME) PRIMARY KEY(id)"]).await;
    x.load("{\"id\":1,\"at\":\"2024-01-01T00:00:00Z\"}").await;
    x.load_with(
        "t",
        &[("timezone", "UTC")],
        "{\"id\":2,\"at\":\"2024-01-01T00:00:00.25Z\"}",
    )
    .await;
    assert_eq!(
        x.select("SELECT at FROM t ORDER BY id").await,
        "2024-01-01 08:00:00;2024-01-01 00:00:00.250000"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_condition_keeps_the_greater_and_refuses_deletes() {
    let x = Exhibit::with_table().await;
    let merge = [("merge_condition", "v")];
    x.load_with("t", &merge, "{\"id\":1,\"name\":\"five\",\"v\":5}")
        .await;
    x.load_with("t", &merge, "{\"id\":1,\"name\":\"four\",\"v\":4}")
        .await;
    assert_eq!(x.select(ALL).await, "1|five|5");
    x.load_with(
        "t",
        &merge,
        "{\"id\":1,\"name\":\"nine\",\"v\":9}{\"id\":1,\"name\":\"eight\",\"v\":8}",
    )
    .await;
    assert_eq!(x.select(ALL).await, "1|nine|9");
    x.load_with("t", &merge, "{\"id\":1,\"name\":\"tie\",\"v\":9}")
        .await;
    assert_eq!(x.select(ALL).await, "1|tie|9");
    let delete = x
        .load_with("t", &merge, "{\"id\":2,\"v\":1}{\"id\":1,\"v\":10,\"__op\":1}")
        .await;
    assert_eq!(delete["Status"], "Fail");
    let message = delete["Message"].as_str().unwrap();
    assert!(
        message.starts_with("memtable of tablet ") && message.ends_with(" delete with condition column v"),
        "{message}"
    );
    assert_eq!(x.select(ALL).await, "1|tie|9", "the whole load failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_updates_leave_the_other_columns() {
    let x = Exhibit::with_table().await;
    x.load("{\"id\":1,\"name\":\"a\",\"v\":1}").await;
    let headers = [("partial_update", "true"), ("columns", "id,v")];
    let reply = x.load_with("t", &headers, "{\"id\":1,\"v\":2}").await;
    assert_eq!(reply["Status"], "Success", "{reply}");
    assert_eq!(x.select(ALL).await, "1|a|2");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_and_csv() {
    use std::io::Write as _;
    let x = Exhibit::with_table().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"id\":1}").unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(
        x.load_with("t", &[("compression", "gzip")], gzip).await["Status"],
        "Success"
    );
    let zstd = zstd::stream::encode_all(&b"{\"id\":2}"[..], 1).unwrap();
    assert_eq!(
        x.load_with("t", &[("content-encoding", "zstd")], zstd).await["Status"],
        "Success"
    );
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"{\"id\":3}").unwrap();
    let lz4 = lz4.finish().unwrap();
    assert_eq!(
        x.load_with("t", &[("compression", "lz4_frame")], lz4).await["Status"],
        "Success"
    );
    let url = format!("{}/api/d/t/_stream_load", x.standin.addresses.be_http);
    let csv = x
        .http
        .put(url)
        .basic_auth("root", Some(""))
        .header("column_separator", ",")
        .body("4,four,\\N\n5,five,5\n");
    let csv: Json = csv.send().await.unwrap().json().await.unwrap();
    assert_eq!(status(&csv), ("Success", 2, 0), "{csv}");
    assert_eq!(
        x.select(ALL).await,
        "1|NULL|NULL;2|NULL|NULL;3|NULL|NULL;4|four|NULL;5|five|5"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_paths_pick_from_the_depth() {
    let x = Exhibit::with_table().await;
    let headers = [
        ("jsonpaths", "[\"$.key.id\", \"$.names[1]\"]"),
        ("columns", "id, name"),
    ];
    x.load_with("t", &headers, "{\"key\":{\"id\":1},\"names\":[\"a\",\"b\"]}")
        .await;
    let root = [("json_root", "$.data"), ("strip_outer_array", "true")];
    x.load_with("t", &root, "{\"data\":[{\"id\":2,\"name\":\"c\"}]}")
        .await;
    assert_eq!(x.select(ALL).await, "1|b|NULL;2|c|NULL");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_loads_and_prints_as_the_server_does() {
    let x = Exhibit::prepared(&[
        "CREATE TABLE t (id BIGINT, b BOOLEAN, t TINYINT, l LARGEINT, f FLOAT, d DOUBLE, n DECIMAL(38,9), dt DATE, \
         ts DATETIME, c CHAR(3), j JSON, a ARRAY<VARCHAR(10)>, aa ARRAY<ARRAY<INT>>, s STRUCT<x INT, y VARCHAR(5)>) PRIMARY KEY(id)",
    ])
    .await;
    let row = r#"{"id":1,"b":true,"t":-128,"l":"170141183460469231731687303715884105727","f":1.5,"d":1e300,
        "n":123456789012345678901234.123456789,"dt":"2024-02-29","ts":"2024-02-29 23:59:59.123456","c":"abc",
        "j":{"b":[1,{"z":null}],"a":"x"},"a":["p",null],"aa":[[1],[]],"s":{"y":"q","x":3}}"#;
    let reply = x
        .load_with("t", &[("strict_mode", "true"), ("timezone", "UTC")], row)
        .await;
    assert_eq!(reply["Status"], "Success", "{reply}");
    assert_eq!(
        x.select("SELECT * FROM t").await,
        "1|1|-128|170141183460469231731687303715884105727|1.5|1e+300|123456789012345678901234.123456789|2024-02-29|\
         2024-02-29 23:59:59.123456|abc|{\"a\": \"x\", \"b\": [1, {\"z\": null}]}|[\"p\",null]|[[1],[]]|{\"x\":3,\"y\":\"q\"}"
    );
    assert_eq!(
        x.select("SELECT get_json_string(j, '$.a'), j->'$.b[0]', get_json_int(j, 'b[0]') FROM t")
            .await,
        "x|1|1"
    );
}
