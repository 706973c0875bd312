//! What `kubectl get` prints, as text, and the status that an object has before anybody wrote one.

use serde_json::{Value, json};

use crate::objects::{named, pipeline, platform, table, with};
use crate::server::{Server, list, server};

const NAMESPACE: &str = "columns";

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-10-02T08:00:11Z",
    })
}

fn place(server: &Server, object: &Value, status: &Value) {
    let placed = with(object.clone(), "/metadata/namespace", json!(NAMESPACE));
    server.must(&["create", "-f", "-"], Some(&placed));
    let kind = object["kind"].as_str().unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    let patch = json!({"status": status}).to_string();
    let args = [
        "patch",
        kind,
        name,
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    server.must(&args, None);
}

/// Lines as printed, with every age as `AGE` and columns as wide as that needs.
fn shown(server: &Server, args: &[&str]) -> String {
    let mut all = vec!["get", "-n", NAMESPACE];
    all.extend(args);
    let text = server.must(&all, None);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let starts: Vec<usize> = header
        .char_indices()
        .filter(|(i, c)| *c != ' ' && (*i == 0 || header[..*i].ends_with("   ")))
        .map(|(i, _)| i)
        .collect();
    let cells = |line: &str| -> Vec<String> {
        starts
            .iter()
            .enumerate()
            .map(|(i, start)| {
                let end = starts.get(i + 1).copied().unwrap_or(line.len()).min(line.len());
                line.get(*start..end).unwrap_or_default().trim_end().to_owned()
            })
            .collect()
    };
    let titles = cells(header);
    let age = titles
        .iter()
        .position(|title| title == "AGE")
        .expect("a column AGE");
    let mut rows = vec![titles];
    for line in lines {
        let mut row = cells(line);
        assert!(
            row[age].starts_with(|c: char| c.is_ascii_digit()),
            "AGE of {line}"
        );
        row[age] = "AGE".to_owned();
        rows.push(row);
    }
    let widths: Vec<usize> = (0..starts.len())
        .map(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or_default())
        .collect();
    let render = |row: &Vec<String>| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(render).collect::<Vec<_>>().join("\n")
}

#[test]
fn printer_columns_are_the_documented_ones() {
    let server = server();
    server.namespace(NAMESPACE);
    let status = |reason: &str, conditions: Vec<Value>| json!({"observedGeneration": 1, "reason": reason, "message": "What, where, since when.", "conditions": conditions});
    let mut flowing = status(
        "Flowing",
        vec![
            condition("Ready", "True", "Flowing"),
            condition("Fresh", "True", "WithinObjective"),
            condition("Lossless", "True", "NothingParked"),
        ],
    );
    flowing["lag"] = json!({"hot": "<1s"});
    flowing["datasetsFresh"] = json!("3/3");
    place(&server, &pipeline(), &flowing);
    let mut lagging = status(
        "LagExceedsObjective",
        vec![
            condition("Ready", "True", "Flowing"),
            condition("Fresh", "False", "LagExceedsObjective"),
            condition("Lossless", "True", "NothingParked"),
        ],
    );
    lagging["lag"] = json!({"hot": "<5m"});
    lagging["datasetsFresh"] = json!("1/2");
    place(
        &server,
        &with(named(pipeline(), "globex"), "/spec/tenant", json!("globex")),
        &lagging,
    );
    let fresh = with(
        with(named(pipeline(), "hooli"), "/spec/tenant", json!("hooli")),
        "/metadata/namespace",
        json!(NAMESPACE),
    );
    server.must(&["create", "-f", "-"], Some(&fresh));

    let mut in_sync = status(
        "InSync",
        vec![
            condition("Ready", "True", "InSync"),
            condition("InSync", "True", "InSync"),
        ],
    );
    in_sync["table"] = json!("shop.orders");
    in_sync["columns"] = json!(9);
    in_sync["writers"] = json!(214);
    in_sync["job"] = json!("10023 RUNNING");
    place(&server, &table(), &in_sync);

    let mut reachable = status(
        "Reachable",
        vec![
            condition("Ready", "True", "Reachable"),
            condition("KafkaReachable", "True", "Reachable"),
            condition("ConnectReachable", "Unknown", "CircuitOpen"),
            condition("HotReachable", "False", "Unreachable"),
        ],
    );
    reachable["pipelines"] = json!(214);
    place(&server, &platform(), &reachable);

    assert_eq!(
        shown(&server, &["tp"]),
        "\
NAME     TENANT   READY   FRESH   LAG   REASON                DATASETS   AGE
acme     acme     True    True    <1s   Flowing               3/3        AGE
globex   globex   True    False   <5m   LagExceedsObjective   1/2        AGE
hooli    hooli                                                           AGE"
    );
    assert_eq!(shown(&server, &["tenantpipelines", "acme", "-o", "wide"]), "\
NAME   TENANT   READY   FRESH   LAG   REASON    DATASETS   AGE   LOSSLESS   PLATFORM   MESSAGE
acme   acme     True    True    <1s   Flowing   3/3        AGE   True       main       What, where, since when.");
    assert_eq!(
        shown(&server, &["srt"]),
        "\
NAME     TABLE         READY   INSYNC   COLUMNS   WRITERS   REASON   AGE
orders   shop.orders   True    True     9         214       InSync   AGE"
    );
    assert_eq!(
        shown(&server, &["srt", "-o", "wide"]),
        "\
NAME     TABLE         READY   INSYNC   COLUMNS   WRITERS   REASON   AGE   JOB             MESSAGE
orders   shop.orders   True    True     9         214       InSync   AGE   10023 RUNNING   What, where, since when."
    );
    assert_eq!(
        shown(&server, &["dplat"]),
        "\
NAME   READY   KAFKA   CONNECT   HOT     PIPELINES   AGE
main   True    True    Unknown   False   214         AGE"
    );
    assert_eq!(
        shown(&server, &["dataplatform", "-o", "wide"]),
        "\
NAME   READY   KAFKA   CONNECT   HOT     PIPELINES   AGE   REASON      MESSAGE
main   True    True    Unknown   False   214         AGE   Reachable   What, where, since when."
    );
    let everything = server.must(&["get", "tributary", "-n", NAMESPACE, "-o", "name"], None);
    assert_eq!(
        everything.lines().count(),
        5,
        "the category holds every kind: {everything}"
    );
}

#[test]
fn a_status_that_nobody_wrote_is_not_healthy() {
    let server = server();
    server.namespace("defaulted");
    let place = |object: Value| with(object, "/metadata/namespace", json!("defaulted"));
    server.must(
        &["create", "-f", "-"],
        Some(&list(&[place(platform()), place(pipeline()), place(table())])),
    );
    for kind in ["dplat", "tp", "srt"] {
        let status = server.must(
            &[
                "get",
                kind,
                "-n",
                "defaulted",
                "-o",
                "jsonpath={.items[0].status}",
            ],
            None,
        );
        assert_eq!(status, r#"{"observedGeneration":-1}"#, "{kind}");
        let spec = server.must(
            &["get", kind, "-n", "defaulted", "-o", "jsonpath={.items[0].spec}"],
            None,
        );
        let spec: Value = serde_json::from_str(&spec).unwrap();
        let written = match kind {
            "dplat" => platform(),
            "tp" => pipeline(),
            _ => table(),
        };
        assert_eq!(
            spec, written["spec"],
            "{kind}: the API server adds nothing to a spec"
        );
    }
}
