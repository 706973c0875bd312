//! Primary keys as text that compares: what the relay wrote and what the table answers must be the same bytes for the same key.

use tributary_crds::column::ColumnType;
use tributary_crds::relay::{DELETED_COLUMN, Deletes, OnReject, TableConfig};

use super::key::KeySource;
use super::rows::{IndexedKey, KeyFrom};
use crate::json::{Cursor, write_int, write_string};
use crate::sink::starrocks::sql;

/// How a table is asked which rows it holds of some documents, and how a row is taken away.
#[derive(Clone, Debug)]
pub struct IndexPlan {
    /// `SELECT … WHERE … AND <doc> IN (`; a list of literals and `)` complete it.
    select: String,
    keys: Vec<(Vec<u8>, ColumnType)>,
    doc: usize,
    removal: Removal,
}

/// How a row is taken away.
#[derive(Clone, Debug)]
pub struct Removal {
    deletes: Deletes,
    /// Values of NOT NULL columns.
    fill: Vec<u8>,
    on_reject: OnReject,
}

impl Removal {
    pub(super) fn new(table: &TableConfig, fill: &[u8]) -> Self {
        Self {
            deletes: table.deletes,
            fill: fill.to_vec(),
            on_reject: table.on_reject,
        }
    }

    /// What of a parked document stays visible.
    pub fn on_reject(&self) -> OnReject {
        self.on_reject
    }

    /// Appends the row that takes a key away.
    pub fn write(&self, key: &[u8], ver: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
        write_gone(self.deletes, ver, &self.fill, out);
        out.push(b'}');
    }
}

/// Cells of an answer, as the MySQL protocol has them.
type Cells = [Option<Vec<u8>>];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table's answer holds {0:?} in a key column of type {1}")]
pub struct BadCell(String, String);

impl IndexPlan {
    pub(super) fn new(table: &TableConfig, keys: &[IndexedKey], doc: usize, delete_fill: &[u8]) -> Self {
        let names: Vec<_> = keys.iter().map(|key| sql::identifier(&key.name)).collect();
        let mut wheres = Vec::new();
        // A shared table holds other tenants' and other datasets' documents under the same ids.
        for (key, name) in keys.iter().zip(&names) {
            if let KeyFrom::Known(KeySource::Constant(text)) = &key.from {
                wheres.push(format!("{name} = {}", literal(text)));
            }
        }
        if table.deletes == Deletes::Soft {
            let deleted = sql::identifier(DELETED_COLUMN);
            wheres.push(format!("({deleted} IS NULL OR {deleted} = FALSE)"));
        }
        wheres.push(format!("{} IN (", names[doc]));
        Self {
            select: format!(
                "SELECT {} FROM {}.{} WHERE {}",
                names.join(", "),
                sql::identifier(&table.database),
                sql::identifier(&table.table),
                wheres.join(" AND ")
            ),
            keys: keys
                .iter()
                .map(|key| (key.prefix.clone(), key.ty.clone()))
                .collect(),
            doc,
            removal: Removal::new(table, delete_fill),
        }
    }

    /// The question for some documents, each by its identity's text.
    pub fn select<'d>(&self, documents: impl Iterator<Item = &'d [u8]>) -> String {
        let literals: Vec<_> = documents.map(literal).collect();
        format!("{}{})", self.select, literals.join(", "))
    }

    /// One row of the answer: the document's identity, and the row's key prefix as [`super::Mapping`] writes it.
    pub fn key(&self, cells: &Cells) -> Result<(Vec<u8>, Vec<u8>), BadCell> {
        let (mut doc, mut key) = (Vec::new(), Vec::new());
        for (i, (prefix, ty)) in self.keys.iter().enumerate() {
            let cell = cells.get(i).and_then(Option::as_deref).unwrap_or_default();
            key.extend_from_slice(prefix);
            let start = key.len();
            from_cell(cell, ty, &mut key)?;
            if i == self.doc {
                doc.extend_from_slice(&key[start..]);
            }
        }
        Ok((doc, key))
    }

    /// The key of a document whose identity is all of it.
    pub fn key_of(&self, id: &[u8]) -> Vec<u8> {
        [&self.keys[self.doc].0, id].concat()
    }

    /// Appends the row that takes a key away.
    pub fn delete(&self, key: &[u8], ver: i64, out: &mut Vec<u8>) {
        self.removal.write(key, ver, out);
    }
}

/// What follows the key in the row of something that is gone.
pub(super) fn write_gone(deletes: Deletes, ver: i64, fill: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(match deletes {
        Deletes::Hard => b",\"__op\":1,\"_ver\":".as_slice(),
        Deletes::Soft => b",\"_deleted\":true,\"_ver\":",
    });
    write_int(ver, out);
    out.extend_from_slice(fill);
}

/// A key's JSON text as an SQL literal.
fn literal(text: &[u8]) -> String {
    if text.first() != Some(&b'"') {
        return String::from_utf8_lossy(text).into_owned();
    }
    let value = Cursor::new(text)
        .string()
        .and_then(|s| Ok(s.value()?.into_owned()));
    sql::literal(&String::from_utf8_lossy(&value.unwrap_or_default()))
}

/// Rewrites a value's JSON text, from `start` to the end of `out`, in the one form that compares.
pub(super) fn canonical(ty: &ColumnType, start: usize, out: &mut Vec<u8>) {
    match ty {
        ColumnType::Varchar(_) if out[start..].contains(&b'\\') => {
            let text = out.split_off(start);
            let value = Cursor::new(&text)
                .string()
                .and_then(|s| Ok(s.value()?.into_owned()));
            match value {
                Ok(value) => write_string(&String::from_utf8_lossy(&value), out),
                // Cannot happen: it was written as a string literal.
                Err(_) => out.extend_from_slice(&text),
            }
        }
        ColumnType::DateTime => {
            let text = out.split_off(start);
            datetime(text.trim_ascii().strip_prefix(b"\"").unwrap_or(&text), out);
        }
        _ => {}
    }
}

/// `"YYYY-MM-DD HH:MM:SS"`, with six digits behind the point when any is not 0. `text` may end in a quote.
fn datetime(text: &[u8], out: &mut Vec<u8>) {
    let text = text.strip_suffix(b"\"").unwrap_or(text);
    let point = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (seconds, fraction) = text.split_at(point);
    let fraction = fraction.strip_prefix(b".").unwrap_or_default();
    out.push(b'"');
    out.extend_from_slice(seconds);
    if fraction.iter().any(|b| *b != b'0') {
        out.push(b'.');
        out.extend((0..6).map(|i| fraction.get(i).copied().unwrap_or(b'0')));
    }
    out.push(b'"');
}

fn from_cell(cell: &[u8], ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), BadCell> {
    let text = String::from_utf8_lossy(cell);
    let bad = || BadCell(text.clone().into_owned(), ty.to_string());
    match ty {
        ColumnType::Varchar(_) => write_string(&text, out),
        ColumnType::DateTime => datetime(cell, out),
        ColumnType::Date => write_string(&text, out),
        ColumnType::Boolean => out.extend_from_slice(match cell {
            b"1" | b"true" => b"true",
            b"0" | b"false" => b"false",
            _ => return Err(bad()),
        }),
        ColumnType::LargeInt => write_string(&text, out),
        _ => {
            let number: i64 = text.parse().map_err(|_| bad())?;
            write_int(number, out);
        }
    }
    Ok(())
}

/// Bytes of a value in StarRocks' key encoding: fixed widths; strings as they are, those before the last with a terminator.
pub(super) fn encoded(ty: &ColumnType, text: &[u8], last: bool) -> usize {
    match ty {
        ColumnType::Varchar(_) => {
            let inner = text.len().saturating_sub(2);
            let len = if text.contains(&b'\\') {
                let value = Cursor::new(text).string().and_then(|s| Ok(s.value()?.len()));
                value.unwrap_or(inner)
            } else {
                inner
            };
            len + if last { 0 } else { 2 }
        }
        ty => width(ty),
    }
}

/// The longest encoding a value of a type can have.
pub(super) fn longest(ty: &ColumnType, last: bool) -> usize {
    match ty {
        ColumnType::Varchar(max) => *max as usize + if last { 0 } else { 2 },
        ty => width(ty),
    }
}

fn width(ty: &ColumnType) -> usize {
    match ty {
        ColumnType::Boolean | ColumnType::TinyInt => 1,
        ColumnType::SmallInt => 2,
        ColumnType::Int | ColumnType::Date => 4,
        ColumnType::LargeInt => 16,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_bytes() {
        for (ty, written, cell) in [
            ("VARCHAR(9)", r#""é \u00e9 \"q\" \/""#, "é é \"q\" /"),
            (
                "DATETIME",
                r#""2024-01-02 03:04:05.600""#,
                "2024-01-02 03:04:05.600000",
            ),
            ("DATETIME", r#""2024-01-02 03:04:05""#, "2024-01-02 03:04:05"),
            ("DATE", r#""2024-01-02""#, "2024-01-02"),
            ("BOOLEAN", "true", "1"),
            ("BIGINT", "-7", "-7"),
            ("LARGEINT", r#""12""#, "12"),
        ] {
            let ty: ColumnType = ty.parse().unwrap();
            let mut ours = written.as_bytes().to_vec();
            canonical(&ty, 0, &mut ours);
            let mut theirs = Vec::new();
            from_cell(cell.as_bytes(), &ty, &mut theirs).unwrap();
            assert_eq!(
                String::from_utf8(ours).unwrap(),
                String::from_utf8(theirs).unwrap(),
                "{ty}"
            );
        }
        assert!(from_cell(b"x", &ColumnType::Int, &mut Vec::new()).is_err());
    }

    #[test]
    fn keys_become_literals_that_nobody_can_break_out_of() {
        assert_eq!(literal(br#""it's \\ \"x\"""#), r#"'it''s \\ "x"'"#);
        assert_eq!(literal(b"42"), "42");
    }
}
