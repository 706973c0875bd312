//! SHOW CREATE TABLE and SHOW CREATE VIEW.

use std::fmt::Write as _;

use crate::table::catalog::View;
use crate::table::schema::{Column, DefaultValue, TableDef};

pub fn create_table(name: &str, def: &TableDef) -> String {
    let mut out = format!("CREATE TABLE `{name}` (\n");
    let mut lines: Vec<String> = def.columns.iter().map(column).collect();
    for index in &def.indexes {
        let columns: Vec<String> = index.columns.iter().map(|c| format!("`{c}`")).collect();
        lines.push(format!(
            "  INDEX {} ({}) USING {} COMMENT '{}'",
            index.name,
            columns.join(", "),
            index.kind,
            index.comment
        ));
    }
    out.push_str(&lines.join(",\n"));
    let keys: Vec<String> = def.keys().iter().map(|k| k.name.clone()).collect();
    let _ = write!(out, "\n) ENGINE=OLAP \n{}({})", def.model.ddl(), names(&keys));
    if !def.comment.is_empty() {
        let _ = write!(out, "\nCOMMENT \"{}\"", escape(&def.comment));
    }
    if let Some(partition) = &def.partition_by {
        let _ = write!(out, "\nPARTITION BY {partition}");
    }
    if def.distribution.is_empty() {
        out.push_str("\nDISTRIBUTED BY RANDOM");
    } else {
        let _ = write!(out, "\nDISTRIBUTED BY HASH({})", names(&def.distribution));
    }
    if let Some(buckets) = def.buckets {
        let _ = write!(out, " BUCKETS {buckets} ");
    }
    if !def.sort_key.is_empty() {
        let _ = write!(out, "\nORDER BY({})", names(&def.sort_key));
    }
    let properties: Vec<String> = def
        .properties
        .iter()
        .map(|(k, v)| format!("\"{k}\" = \"{v}\""))
        .collect();
    let _ = write!(out, "\nPROPERTIES (\n{}\n);", properties.join(",\n"));
    out
}

fn column(column: &Column) -> String {
    let mut out = format!(
        "  `{}` {} {}",
        column.name,
        column.ty,
        if column.nullable { "NULL" } else { "NOT NULL" }
    );
    match &column.default {
        Some(DefaultValue::Literal(text)) => {
            let _ = write!(out, " DEFAULT \"{}\"", escape(text));
        }
        Some(DefaultValue::CurrentTimestamp) => out.push_str(" DEFAULT CURRENT_TIMESTAMP"),
        Some(DefaultValue::Function(f)) => {
            let _ = write!(out, " DEFAULT ({f})");
        }
        None => {}
    }
    let _ = write!(out, " COMMENT \"{}\"", escape(&column.comment));
    out
}

fn names(names: &[String]) -> String {
    names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

pub fn create_view(name: &str, view: &View) -> String {
    let mut out = format!("CREATE VIEW `{name}`");
    if !view.columns.is_empty() {
        let columns: Vec<String> = view
            .columns
            .iter()
            .map(|(name, comment)| {
                if comment.is_empty() {
                    format!("`{name}`")
                } else {
                    format!("`{name}` COMMENT \"{}\"", escape(comment))
                }
            })
            .collect();
        let _ = write!(out, " ({})", columns.join(", "));
    }
    if !view.comment.is_empty() {
        let _ = write!(out, "\nCOMMENT \"{}\"", escape(&view.comment));
    }
    let _ = write!(out, " AS {};", view.definition);
    out
}
