//! The chart's alerts and dashboard, judged by the real promtool. That the metrics they name exist is tested where the metrics are
//! (operator and relay telemetry).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tributary")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(chart().join(file)).expect("a file of the chart")
}

fn promtool(args: &[&str], dir: &Path) -> Output {
    let program = tributary_stage::setup::promtool()
        .expect("promtool")
        .join("promtool");
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .output()
        .expect("promtool runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn alerts() -> Value {
    serde_yaml::from_str(&read("files/alerts.yaml")).expect("YAML")
}

/// Every `expr` of the dashboard, with Grafana's variables filled in as Grafana does.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|p| p["targets"].as_array()).flatten();
    targets
        .map(|t| t["expr"].as_str().expect("an expression"))
        .map(|e| e.replace("$__rate_interval", "1m").replace("$pipeline", ".*"))
        .collect()
}

#[test]
fn promtool_takes_the_alerts_and_every_query_of_the_dashboard() {
    let output = promtool(&["check", "rules", "files/alerts.yaml"], &chart());
    assert!(output.status.success(), "{}", said(&output));

    let dashboard: Value = serde_json::from_str(&read("files/dashboard.json")).expect("JSON");
    let record = |(i, expr): (usize, String)| json!({"record": format!("q{i}"), "expr": expr});
    let rules: Vec<Value> = queries(&dashboard).into_iter().enumerate().map(record).collect();
    assert!(rules.len() >= 15, "{} queries", rules.len());
    let dir = tempfile::tempdir().expect("a folder");
    let check = |rules: &[Value]| {
        let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
        std::fs::write(dir.path().join("rules.yaml"), file.to_string()).expect("written");
        promtool(&["check", "rules", "rules.yaml"], dir.path())
    };
    let output = check(&rules);
    assert!(output.status.success(), "{}", said(&output));
    let output = check(&[json!({"record": "q", "expr": "sum(rate(x)"})]);
    assert!(!output.status.success(), "a broken query passed");
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let output = promtool(&["test", "rules", "tests/alerts.yaml"], &chart());
    assert!(output.status.success(), "{}", said(&output));
}

/// The alerts whose absence (or presence) a failed test complains of. promtool prints `exp: …` and `got: …` for each.
fn complaints(output: &str, of_absence: bool) -> BTreeSet<String> {
    let named = |text: &str| -> BTreeSet<String> {
        let names = text.split("alertname=\"").skip(1);
        names
            .filter_map(|t| Some(t.split_once('"')?.0.to_owned()))
            .collect()
    };
    let failures = output.split("exp:").skip(1).filter_map(|f| f.split_once("got:"));
    let mut found = BTreeSet::new();
    for (expected, got) in failures.map(|(expected, got)| (named(expected), named(got))) {
        let (more, less) = if of_absence {
            (expected, got)
        } else {
            (got, expected)
        };
        found.extend(more.difference(&less).cloned());
    }
    found
}

/// Alerts that never fire, then alerts that always do: the tests must notice each of them both times.
#[test]
fn the_tests_notice_an_alert_that_is_mute_and_one_that_cries_wolf() {
    for (expr, mute) in [("vector(0) > 1", true), ("vector(1)", false)] {
        let mut broken = alerts();
        let mut names = BTreeSet::new();
        for group in broken["groups"].as_array_mut().expect("groups") {
            for rule in group["rules"].as_array_mut().expect("rules") {
                rule["expr"] = json!(expr);
                names.insert(rule["alert"].as_str().expect("a name").to_owned());
            }
        }
        assert!(names.len() >= 12, "{names:?}");
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["files", "tests"] {
            std::fs::create_dir(dir.path().join(folder)).expect("made");
        }
        let write = |file: &str, text: String| std::fs::write(dir.path().join(file), text).expect("written");
        write("files/alerts.yaml", broken.to_string());
        write("tests/alerts.yaml", read("tests/alerts.yaml"));
        let output = promtool(&["test", "rules", "tests/alerts.yaml"], dir.path());
        assert!(!output.status.success(), "alerts as {expr} pass their tests");
        let missed: Vec<_> = names
            .difference(&complaints(&said(&output), mute))
            .cloned()
            .collect();
        assert!(
            missed.is_empty(),
            "as {expr}, no test notices {missed:?}:\n{}",
            said(&output)
        );
    }
}

#[test]
fn every_metric_is_the_operators_or_a_relays() {
    for file in ["files/alerts.yaml", "files/dashboard.json"] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> = words
            .filter(|w| w.starts_with("tributary_") && !w.starts_with("tributary_dev_"))
            .collect();
        assert!(metrics.len() > 10, "{file}");
        for metric in metrics {
            let known = ["tributary_operator_", "tributary_relay_"];
            assert!(known.iter().any(|p| metric.starts_with(p)), "{file}: {metric}");
        }
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    for group in alerts()["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            let name = &rule["alert"];
            let severity = rule["labels"]["severity"].as_str();
            assert!(matches!(severity, Some("critical" | "warning")), "{name}");
            for text in ["summary", "description"] {
                let text = rule["annotations"][text].as_str().unwrap_or_default();
                assert!(text.len() > 20, "{name}");
            }
        }
    }
}
