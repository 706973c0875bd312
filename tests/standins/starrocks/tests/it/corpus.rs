//! The DDL corpus: 79 statements with the verdicts of the real grammars.

use serde::Deserialize;
use standin_starrocks::sql::parse::{ParseError, parse};

#[derive(Deserialize)]
struct Case {
    sql: String,
    accepted: std::collections::BTreeMap<String, bool>,
}

/// The version the stand-in says it is.
const VERSION: &str = "3.5";

/// Classes of statements left to later issues, by the words they begin with. Nothing else may be unsupported.
const LATER: &[&str] = &[
    "CREATE EXTERNAL CATALOG",
    "ALTER CATALOG",
    "DROP CATALOG",
    "SHOW CREATE CATALOG",
    "REFRESH EXTERNAL TABLE",
    "CREATE MATERIALIZED VIEW",
    "ALTER MATERIALIZED VIEW",
    "REFRESH MATERIALIZED VIEW",
    "CREATE RESOURCE GROUP",
    "CREATE WAREHOUSE",
    "SET WAREHOUSE",
];

#[test]
fn the_parser_agrees_with_the_real_grammar() {
    let corpus = include_str!("../ddl-corpus.json");
    let cases: Vec<Case> = serde_json::from_str(corpus).unwrap();
    assert_eq!(cases.len(), 79);
    let (mut agreed, mut later, mut wrong) = (0, 0, Vec::new());
    for case in &cases {
        match (parse(&case.sql), case.accepted[VERSION]) {
            (Err(ParseError::Unsupported(class)), _) => {
                assert!(
                    LATER.iter().any(|l| case.sql.starts_with(l)),
                    "{class}: {}",
                    case.sql
                );
                later += 1;
            }
            (Ok(_), true) | (Err(ParseError::Syntax(_)), false) => agreed += 1,
            (Ok(statement), false) => wrong.push(format!("accepted: {}\n  {statement:?}", case.sql)),
            (Err(error), true) => wrong.push(format!("refused: {}\n  {error}", case.sql)),
        }
    }
    println!("corpus: {agreed} agree, {later} of later issues' classes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
