//! Column types as the grammar spells them.

use std::fmt;

use super::super::version::Feature;
use super::cursor::{Cursor, Parsed};

/// Base name of a type, aliases resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeName {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    LargeInt,
    Float,
    Double,
    Decimal,
    Decimal256,
    Date,
    DateTime,
    Time,
    Char,
    Varchar,
    Binary,
    Bitmap,
    Hll,
    Percentile,
    Json,
    Array,
    Map,
    Struct,
}

/// A type with its numbers: length, or precision and scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlType {
    pub(crate) name: TypeName,
    pub(crate) args: Vec<u64>,
    /// `STRING` and `TEXT`, which need no length.
    pub(crate) unbounded: bool,
    /// Element, key and value, or field types.
    pub(crate) inner: Vec<SqlType>,
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{:?}", self.name).to_ascii_uppercase())?;
        if !self.args.is_empty() {
            let args: Vec<String> = self.args.iter().map(u64::to_string).collect();
            write!(f, "({})", args.join(","))?;
        }
        Ok(())
    }
}

/// Spelling, meaning, and how many numbers may follow in parentheses.
const BASE: &[(&str, TypeName, usize)] = &[
    ("BOOLEAN", TypeName::Boolean, 0),
    ("TINYINT", TypeName::TinyInt, 1),
    ("SMALLINT", TypeName::SmallInt, 1),
    ("INT", TypeName::Int, 1),
    ("INTEGER", TypeName::Int, 1),
    ("BIGINT", TypeName::BigInt, 1),
    ("LARGEINT", TypeName::LargeInt, 1),
    ("FLOAT", TypeName::Float, 0),
    ("DOUBLE", TypeName::Double, 0),
    ("DECIMAL", TypeName::Decimal, 2),
    ("DECIMALV2", TypeName::Decimal, 2),
    ("DECIMAL32", TypeName::Decimal, 2),
    ("DECIMAL64", TypeName::Decimal, 2),
    ("DECIMAL128", TypeName::Decimal, 2),
    ("NUMERIC", TypeName::Decimal, 2),
    ("NUMBER", TypeName::Decimal, 2),
    ("DATE", TypeName::Date, 0),
    ("DATETIME", TypeName::DateTime, 0),
    ("TIME", TypeName::Time, 0),
    ("CHAR", TypeName::Char, 1),
    ("VARCHAR", TypeName::Varchar, 1),
    ("VARBINARY", TypeName::Binary, 1),
    ("BINARY", TypeName::Binary, 1),
    ("BITMAP", TypeName::Bitmap, 0),
    ("HLL", TypeName::Hll, 0),
    ("PERCENTILE", TypeName::Percentile, 0),
    ("JSON", TypeName::Json, 0),
];

pub(super) fn sql_type(c: &mut Cursor<'_>) -> Parsed<SqlType> {
    if c.accept_word("ARRAY") {
        c.expect("<")?;
        let element = sql_type(c)?;
        return close(c, TypeName::Array, vec![element]);
    }
    if c.accept_word("MAP") {
        c.expect("<")?;
        let key = sql_type(c)?;
        c.expect(",")?;
        let value = sql_type(c)?;
        return close(c, TypeName::Map, vec![key, value]);
    }
    if c.accept_word("STRUCT") {
        c.expect("<")?;
        let mut fields = vec![field(c)?];
        while c.accept(",") {
            fields.push(field(c)?);
        }
        return close(c, TypeName::Struct, fields);
    }
    if c.accept_any(&["STRING", "TEXT"]) {
        return Ok(SqlType {
            unbounded: true,
            ..plain(TypeName::Varchar, Vec::new())
        });
    }
    if c.has(Feature::Decimal256) && c.accept_word("DECIMAL256") {
        let args = numbers(c, 2)?;
        return Ok(plain(TypeName::Decimal256, args));
    }
    for (word, name, count) in BASE {
        if c.accept_word(word) {
            let args = numbers(c, *count)?;
            return Ok(plain(*name, args));
        }
    }
    c.unexpected("a column type")
}

/// `name type` or `name: type`.
fn field(c: &mut Cursor<'_>) -> Parsed<SqlType> {
    c.ident()?;
    c.accept(":");
    sql_type(c)
}

fn numbers(c: &mut Cursor<'_>, max: usize) -> Parsed<Vec<u64>> {
    if max == 0 || !c.is("(") {
        return Ok(Vec::new());
    }
    let args = c.list(Cursor::integer)?;
    if args.len() > max {
        return c.unexpected("fewer numbers");
    }
    Ok(args)
}

fn close(c: &mut Cursor<'_>, name: TypeName, inner: Vec<SqlType>) -> Parsed<SqlType> {
    c.expect(">")?;
    Ok(SqlType {
        inner,
        ..plain(name, Vec::new())
    })
}

fn plain(name: TypeName, args: Vec<u64>) -> SqlType {
    SqlType {
        name,
        args,
        unbounded: false,
        inner: Vec::new(),
    }
}
