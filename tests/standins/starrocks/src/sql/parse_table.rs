//! CREATE TABLE, its columns and types. The order of clauses is the grammar's.

use std::collections::BTreeMap;

use super::ast::*;
use super::lex::{Cursor, Kind, SyntaxError};
use crate::table::schema::{DefaultValue, Index, TableModel};
use crate::table::types::{ColumnType, STRING_LENGTH};

pub fn create_table(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let if_not_exists = c.take("IF NOT EXISTS");
    let name = object_name(c)?;
    if c.take("LIKE") {
        return Ok(Statement::CreateTableLike {
            if_not_exists,
            name,
            like: object_name(c)?,
        });
    }
    c.expect_symbol("(")?;
    let (mut columns, mut indexes) = (Vec::new(), Vec::new());
    loop {
        if c.at_words("INDEX") {
            indexes.push(index(c)?);
        } else {
            columns.push(column(c)?);
        }
        if !c.take_symbol(",") {
            break;
        }
    }
    c.expect_symbol(")")?;
    let engine = if c.take("ENGINE") {
        c.expect_symbol("=")?;
        Some(c.identifier()?)
    } else {
        None
    };
    if c.take("DEFAULT CHARSET") || c.take("CHARSET") {
        c.take_symbol("=");
        c.identifier()?;
    }
    let keys = keys(c)?;
    let comment = if c.take("COMMENT") {
        c.text()?
    } else {
        String::new()
    };
    let partition = if c.take("PARTITION BY") {
        Some(partition(c)?)
    } else {
        None
    };
    let distribution = if c.take("DISTRIBUTED BY") {
        Some(distribution(c)?)
    } else {
        None
    };
    let order_by = if c.take("ORDER BY") {
        Some(c.list(Cursor::identifier)?)
    } else {
        None
    };
    let properties = if c.take("PROPERTIES") {
        properties(c)?
    } else {
        BTreeMap::new()
    };
    Ok(Statement::CreateTable(Box::new(CreateTable {
        if_not_exists,
        name,
        columns,
        indexes,
        engine,
        keys,
        comment,
        partition,
        distribution,
        order_by,
        properties,
    })))
}

fn keys(c: &mut Cursor<'_>) -> Result<Option<(TableModel, Vec<String>)>, SyntaxError> {
    let model = if c.take("PRIMARY KEY") {
        TableModel::Primary
    } else if c.take("DUPLICATE KEY") {
        TableModel::Duplicate
    } else {
        return Ok(None);
    };
    Ok(Some((model, c.list(Cursor::identifier)?)))
}

pub(super) fn distribution(c: &mut Cursor<'_>) -> Result<Distribution, SyntaxError> {
    let buckets = |c: &mut Cursor<'_>| {
        if c.take("BUCKETS") {
            c.number().map(Some)
        } else {
            Ok(None)
        }
    };
    if c.take("RANDOM") {
        return Ok(Distribution::Random { buckets: buckets(c)? });
    }
    c.expect("HASH")?;
    let columns = c.list(Cursor::identifier)?;
    Ok(Distribution::Hash {
        columns,
        buckets: buckets(c)?,
    })
}

fn partition(c: &mut Cursor<'_>) -> Result<Partition, SyntaxError> {
    let start = c.peek().start;
    let columns = if c.take("LIST") || c.take("RANGE") {
        let columns = c.list(Cursor::identifier)?;
        c.group()?;
        columns
    } else if c.at_symbol("(") {
        c.list(Cursor::identifier)?
    } else {
        // date_trunc('day', c), time_slice(c, interval 1 day), or a bare column list.
        let mut columns = Vec::new();
        loop {
            let name = c.identifier()?;
            if c.at_symbol("(") {
                columns.push(function_column(c)?);
            } else {
                columns.push(name);
            }
            if !c.take_symbol(",") {
                break;
            }
        }
        columns
    };
    let end = if c.at_end() {
        c.source.len()
    } else {
        c.peek().start
    };
    Ok(Partition {
        text: c.source[start..end].trim().trim_end_matches(';').to_owned(),
        columns,
    })
}

/// The column inside a partition function: its first bare name.
fn function_column(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let group = c.group()?;
    let mut inner = Cursor::new(group)?;
    while !inner.at_end() {
        let token = inner.advance();
        if token.kind == Kind::Quoted
            || (token.kind == Kind::Word && !token.text.eq_ignore_ascii_case("interval"))
        {
            return Ok(token.text);
        }
    }
    Err(c.unexpected("a partition column"))
}

pub(super) fn index(c: &mut Cursor<'_>) -> Result<Index, SyntaxError> {
    c.expect("INDEX")?;
    let name = c.identifier()?;
    let columns = c.list(Cursor::identifier)?;
    let kind = index_kind(c)?;
    let comment = if c.take("COMMENT") {
        c.text()?
    } else {
        String::new()
    };
    Ok(Index {
        name,
        columns,
        kind,
        comment,
    })
}

fn index_kind(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    if !c.take("USING") {
        return Ok("BITMAP".into());
    }
    for kind in ["BITMAP", "NGRAMBF", "GIN", "VECTOR"] {
        if c.take(kind) {
            if c.at_symbol("(") {
                properties(c)?;
            }
            return Ok(kind.into());
        }
    }
    Err(c.unexpected("'BITMAP', 'NGRAMBF', 'GIN', 'VECTOR'"))
}

pub fn properties(c: &mut Cursor<'_>) -> Result<BTreeMap<String, String>, SyntaxError> {
    let pairs = c.list(|c| {
        let key = c.text()?;
        c.expect_symbol("=")?;
        Ok((key, c.text()?))
    })?;
    Ok(pairs.into_iter().collect())
}

pub(super) fn column(c: &mut Cursor<'_>) -> Result<ColumnSpec, SyntaxError> {
    let name = c.identifier()?;
    let ty = column_type(c)?;
    let mut spec = ColumnSpec {
        name,
        ty,
        nullable: None,
        default: None,
        comment: String::new(),
        generated: None,
        auto_increment: false,
    };
    if c.take("KEY") {
        return Err(c.unexpected("'NULL', 'NOT', 'DEFAULT', 'COMMENT', 'AS'"));
    }
    if c.take("NOT NULL") {
        spec.nullable = Some(false);
    } else if c.take("NULL") {
        spec.nullable = Some(true);
    }
    if c.take("DEFAULT") {
        spec.default = default_value(c)?;
    } else if c.take("AUTO_INCREMENT") {
        spec.auto_increment = true;
    } else if c.take("AS") {
        spec.generated = Some(expression(c)?);
    }
    if c.take("COMMENT") {
        spec.comment = c.text()?;
    }
    Ok(spec)
}

fn default_value(c: &mut Cursor<'_>) -> Result<Option<DefaultValue>, SyntaxError> {
    if c.take("NULL") {
        return Ok(None);
    }
    if c.take("CURRENT_TIMESTAMP") {
        if c.at_symbol("(") {
            c.group()?;
        }
        return Ok(Some(DefaultValue::CurrentTimestamp));
    }
    if c.at_symbol("(") {
        let inside = c.group()?;
        return Ok(Some(DefaultValue::Function(
            inside[1..inside.len() - 1].trim().to_owned(),
        )));
    }
    Ok(Some(DefaultValue::Literal(c.text()?)))
}

/// An expression up to the `,` or `)` that ends the column, or its COMMENT.
fn expression(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let start = c.peek().start;
    let mut end = start;
    while !(c.at_end() || c.at_symbol(",") || c.at_symbol(")") || c.at_words("COMMENT")) {
        if c.at_symbol("(") {
            c.group()?;
        } else {
            c.advance();
        }
        end = c.peek().start;
    }
    if end == start {
        Err(c.unexpected("an expression"))
    } else {
        Ok(c.source[start..end].trim().to_owned())
    }
}

pub fn column_type(c: &mut Cursor<'_>) -> Result<ColumnType, SyntaxError> {
    let at = c.position();
    let word = if c.peek().kind == Kind::Word {
        c.advance().text.to_ascii_uppercase()
    } else {
        String::new()
    };
    let length = |c: &mut Cursor<'_>, otherwise: u32| {
        if !c.take_symbol("(") {
            return Ok(otherwise);
        }
        let n = c.number()?;
        c.expect_symbol(")").map(|()| n)
    };
    Ok(match word.as_str() {
        "BOOLEAN" | "BOOL" => ColumnType::Boolean,
        "TINYINT" => width(c, ColumnType::TinyInt)?,
        "SMALLINT" => width(c, ColumnType::SmallInt)?,
        "INT" | "INTEGER" => width(c, ColumnType::Int)?,
        "BIGINT" => width(c, ColumnType::BigInt)?,
        "LARGEINT" => width(c, ColumnType::LargeInt)?,
        "FLOAT" => ColumnType::Float,
        "DOUBLE" => ColumnType::Double,
        "DATE" => ColumnType::Date,
        "DATETIME" => ColumnType::DateTime,
        "JSON" => ColumnType::Json,
        "CHAR" => ColumnType::Char(length(c, 1)?),
        // Without a length a VARCHAR holds one byte.
        "VARCHAR" => ColumnType::Varchar(length(c, 1)?),
        "STRING" | "TEXT" => ColumnType::Varchar(STRING_LENGTH),
        "VARBINARY" | "BINARY" => {
            length(c, 0)?;
            ColumnType::Varbinary
        }
        "DECIMAL" | "NUMERIC" | "NUMBER" | "DECIMALV2" | "DECIMAL32" | "DECIMAL64" | "DECIMAL128" => {
            decimal(c)?
        }
        "ARRAY" => {
            c.expect_symbol("<")?;
            let of = column_type(c)?;
            close_angle(c)?;
            ColumnType::Array(Box::new(of))
        }
        "MAP" => {
            c.expect_symbol("<")?;
            let key = column_type(c)?;
            c.expect_symbol(",")?;
            let value = column_type(c)?;
            close_angle(c)?;
            ColumnType::Map(Box::new(key), Box::new(value))
        }
        "STRUCT" => {
            c.expect_symbol("<")?;
            let mut fields = Vec::new();
            loop {
                let name = c.identifier()?;
                c.take_symbol(":");
                fields.push((name, column_type(c)?));
                if !c.take_symbol(",") {
                    break;
                }
            }
            close_angle(c)?;
            ColumnType::Struct(fields)
        }
        _ => {
            c.rewind(at);
            return Err(
                c.unexpected("'ARRAY', 'BIGINT', 'BOOLEAN', 'CHAR', 'DATE', 'DATETIME', 'DECIMAL', …")
            );
        }
    })
}

/// `<>`-like tokens never occur in types, but `>>` is two symbols and needs no special care.
fn close_angle(c: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    c.expect_symbol(">")
}

/// A display width means nothing.
fn width(c: &mut Cursor<'_>, ty: ColumnType) -> Result<ColumnType, SyntaxError> {
    if c.take_symbol("(") {
        c.number::<u32>()?;
        c.expect_symbol(")")?;
    }
    Ok(ty)
}

fn decimal(c: &mut Cursor<'_>) -> Result<ColumnType, SyntaxError> {
    let (mut precision, mut scale) = (10, 0);
    if c.take_symbol("(") {
        precision = c.number()?;
        if c.take_symbol(",") {
            scale = c.number()?;
        }
        c.expect_symbol(")")?;
    }
    Ok(ColumnType::Decimal { precision, scale })
}

pub fn object_name(c: &mut Cursor<'_>) -> Result<ObjectName, SyntaxError> {
    let mut parts = vec![c.identifier()?];
    while c.take_symbol(".") {
        parts.push(c.identifier()?);
    }
    let name = parts.pop().unwrap_or_default();
    // A catalog in front says default_catalog; there is no other yet.
    Ok(ObjectName {
        db: parts.pop(),
        name,
    })
}
