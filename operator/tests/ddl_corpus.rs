//! The checker against the verdicts of the real grammars: 79 statements, five versions each.

use std::collections::BTreeMap;

use serde::Deserialize;
use tributary_operator::table::ddl::{Rule, Version, check, check_syntax};

const CORPUS: &str = include_str!("data/starrocks-ddl-corpus.json");
const VERSIONS: [&str; 5] = ["3.2", "3.3", "3.4", "3.5", "4.0-dev"];

#[derive(Deserialize)]
struct Entry {
    sql: String,
    accepted: BTreeMap<String, bool>,
    error: Option<String>,
}

fn corpus() -> Vec<Entry> {
    serde_json::from_str(CORPUS).expect("the corpus is JSON")
}

fn version(text: &str) -> Version {
    text.parse().expect(text)
}

#[test]
fn the_checker_agrees_with_every_verdict() {
    let entries = corpus();
    assert_eq!(entries.len(), 79);
    let mut wrong = Vec::new();
    let mut rejected = BTreeMap::<&str, usize>::new();
    for entry in &entries {
        assert_eq!(entry.accepted.len(), VERSIONS.len(), "{}", entry.sql);
        for name in VERSIONS {
            let verdict = check_syntax(&entry.sql, version(name));
            *rejected.entry(name).or_default() += usize::from(verdict.is_err());
            if verdict.is_ok() != entry.accepted[name] {
                let said = verdict.map_or_else(|v| v.to_string(), |()| "accepted".into());
                let server = entry.error.as_deref().unwrap_or("accepted");
                let server: String = server.chars().take(120).collect();
                wrong.push(format!(
                    "{name}: {}\n  checker: {said}\n  server: {server}",
                    entry.sql
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} verdicts differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // The figures of the reference page.
    let counts: Vec<usize> = VERSIONS.iter().map(|v| rejected[v]).collect();
    assert_eq!(counts, [16, 12, 9, 9, 9]);
    println!(
        "{} statements x {} versions agree; rejected {counts:?}",
        entries.len(),
        VERSIONS.len()
    );
}

/// Where both see a syntax error, they see it at the same place (the parser counts characters of one line).
#[test]
fn syntax_errors_are_found_where_the_parser_finds_them() {
    let mut same = 0;
    let mut all = 0;
    for entry in corpus() {
        // The message was recorded from the first version that rejects.
        let Some(name) = VERSIONS.into_iter().find(|v| !entry.accepted[*v]) else {
            continue;
        };
        let error = entry.error.expect("a rejection has a message");
        // "no viable alternative" marks the start of a decision, not the odd token.
        if error.contains("no viable alternative") {
            continue;
        }
        let column = error.strip_prefix("1:").and_then(|e| e.split(' ').next());
        let column: usize = column.and_then(|c| c.parse().ok()).expect("a column");
        let violation = check_syntax(&entry.sql, version(name)).expect_err("rejected");
        all += 1;
        if violation.detail.contains(&format!("at byte {column}:")) {
            same += 1;
        } else {
            println!("{}\n  checker: {violation}\n  parser: byte {column}", entry.sql);
        }
    }
    println!("{same} of {all} positions are the parser's own");
    assert!(all >= 10 && same + 2 >= all, "{same} of {all}");
}

/// What the server's analyzer would refuse although its parser takes it: named rules, nothing else.
#[test]
fn beyond_the_grammar_only_known_rules_fire() {
    let mut fired = BTreeMap::<String, Vec<String>>::new();
    for entry in corpus() {
        for name in VERSIONS {
            if !entry.accepted[name] {
                continue;
            }
            if let Err(violation) = check(&entry.sql, version(name)) {
                assert_ne!(violation.rule, Rule::Syntax, "{}", entry.sql);
                let head: String = entry.sql.chars().take(60).collect();
                let key = format!("{:?} {head}", violation.rule);
                fired.entry(key).or_default().push(name.to_owned());
            }
        }
    }
    let told: Vec<String> = fired
        .iter()
        .map(|(rule, versions)| format!("{rule} [{}]", versions.join(" ")))
        .collect();
    assert_eq!(
        told,
        [
            // RENAME COLUMN parses from 3.2 on and works from 3.3.2 on; MODIFY … FIELD from 3.2.10 and 3.3.2 on.
            "GeneratedColumnsLast CREATE TABLE t (id BIGINT NOT NULL, j JSON NULL, city VARCHA [3.2 3.3 3.4 3.5 4.0-dev]",
            "PropertyVersion ALTER TABLE db.t SET (\"partition_retention_condition\"=\"dt >= [3.2 3.3 3.4]",
            "PropertyVersion CREATE TABLE IF NOT EXISTS `gold`.`orders_acme` (`_id` VARCH [3.2 3.3]",
            "RenameColumnVersion ALTER TABLE db.t RENAME COLUMN a TO b [3.3]",
            "RenameColumnVersion ALTER TABLE db.t RENAME COLUMN a b [3.2]",
            "StructFieldVersion ALTER TABLE db.t MODIFY COLUMN `s` ADD FIELD addr.[*].zip VA [3.2 3.3]",
            "StructFieldVersion ALTER TABLE db.t MODIFY COLUMN `s` ADD FIELD zip VARCHAR(16) [3.2 3.3]",
            "StructFieldVersion ALTER TABLE db.t MODIFY COLUMN `s` DROP FIELD addr.zip [3.2 3.3]",
        ]
    );
}
