//! A result of rows and columns: SHOW, information_schema, and what is registered for queries over them.

use crate::table::types::{ColumnType, STRING_LENGTH};
use crate::table::value::Value;

#[derive(Debug, Clone, Default)]
pub struct Grid {
    pub columns: Vec<(String, ColumnType)>,
    pub rows: Vec<Vec<Value>>,
}

pub const TEXT: ColumnType = ColumnType::Varchar(STRING_LENGTH);

impl Grid {
    /// All columns are strings.
    pub fn text(names: &[&str]) -> Self {
        Self {
            columns: names.iter().map(|n| ((*n).to_owned(), TEXT)).collect(),
            rows: Vec::new(),
        }
    }

    pub fn typed(columns: &[(&str, ColumnType)]) -> Self {
        Self {
            columns: columns
                .iter()
                .map(|(n, t)| ((*n).to_owned(), t.clone()))
                .collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(mut self, cells: Vec<Value>) -> Self {
        self.push(cells);
        self
    }

    pub fn push(&mut self, cells: Vec<Value>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "cells of {:?}", self.columns);
        self.rows.push(cells);
    }

    pub fn push_text<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        self.push(cells.into_iter().map(Value::str).collect());
    }

    /// Keeps rows whose first column matches a LIKE pattern.
    pub fn like(mut self, pattern: Option<&str>) -> Self {
        if let Some(pattern) = pattern {
            self.rows.retain(|row| like(&row[0].render(0), pattern));
        }
        self
    }
}

/// SQL LIKE, case-insensitive, `\` escapes.
pub fn like(text: &str, pattern: &str) -> bool {
    fn go(text: &[char], pattern: &[char]) -> bool {
        match pattern.first() {
            None => text.is_empty(),
            Some('%') => (0..=text.len()).any(|skip| go(&text[skip..], &pattern[1..])),
            Some('\\') if pattern.len() > 1 => {
                text.first() == pattern.get(1) && go(&text[1..], &pattern[2..])
            }
            Some('_') => !text.is_empty() && go(&text[1..], &pattern[1..]),
            Some(c) => text.first() == Some(c) && go(&text[1..], &pattern[1..]),
        }
    }
    let fold = |s: &str| s.to_lowercase().chars().collect::<Vec<_>>();
    go(&fold(text), &fold(pattern))
}

pub fn text(s: impl Into<Box<str>>) -> Value {
    Value::str(s)
}

pub fn int(v: impl Into<i64>) -> Value {
    Value::Int(v.into())
}

pub fn opt_int(v: Option<i64>) -> Value {
    v.map_or(Value::Null, Value::Int)
}

pub fn opt_text(v: Option<String>) -> Value {
    v.map_or(Value::Null, Value::str)
}

pub fn timestamp(at: jiff::Timestamp) -> Value {
    Value::DateTime(at.as_second() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_patterns() {
        assert!(like("tables_config", "tables%"));
        assert!(like("run_mode", "run\\_mode"));
        assert!(!like("runxmode", "run\\_mode"));
        assert!(like("runxmode", "run_mode"));
    }
}
