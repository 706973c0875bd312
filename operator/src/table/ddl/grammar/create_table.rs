//! `CREATE TABLE`. The order of its clauses is fixed.

use super::super::version::Feature;
use super::cursor::{Cursor, Parsed};
use super::types::sql_type;
use super::{Ast, ColumnAst, DefaultAst, DistributionAst, KeyAst, KeyModel, PartitionAst, TableAst};

/// After `CREATE TABLE`.
pub(super) fn create_table(c: &mut Cursor<'_>) -> Parsed<Ast> {
    c.if_not_exists();
    c.qualified()?;
    if c.accept_word("LIKE") {
        c.qualified()?;
        return Ok(Ast::Other);
    }
    let mut table = TableAst::default();
    let items = c.list(|c| {
        if c.accept_word("INDEX") {
            index(c).map(|()| None)
        } else {
            column(c).map(Some)
        }
    })?;
    table.columns = items.into_iter().flatten().collect();
    if c.accept_word("ENGINE") {
        c.expect("=")?;
        c.ident()?;
    }
    if c.accept_words(&["DEFAULT", "CHARSET"]) || c.accept_word("CHARSET") {
        c.accept("=");
        c.ident_or_string()?;
    }
    table.key = key(c)?;
    c.comment()?;
    table.partition = partition(c)?;
    table.distribution = distribution(c)?;
    if c.accept_words(&["ORDER", "BY"]) {
        table.order_by = c.ident_list()?;
    }
    if c.accept_word("ROLLUP") {
        c.list(|c| {
            c.ident()?;
            c.ident_list()?;
            c.properties().map(drop)
        })?;
    }
    table.properties = c.properties()?;
    Ok(Ast::CreateTable(table))
}

/// `name type [KEY] [NULL | NOT NULL] [DEFAULT … | AS expr | AUTO_INCREMENT] [COMMENT "…"]`.
pub(super) fn column(c: &mut Cursor<'_>) -> Parsed<ColumnAst> {
    let name = c.ident()?;
    let sql_type = sql_type(c)?;
    let key = c.accept_word("KEY");
    // Aggregation of value columns in AGGREGATE KEY tables.
    if !key {
        c.accept_any(&[
            "SUM",
            "MAX",
            "MIN",
            "REPLACE",
            "REPLACE_IF_NOT_NULL",
            "HLL_UNION",
            "BITMAP_UNION",
            "PERCENTILE_UNION",
        ]);
    }
    let nullable = if c.accept_words(&["NOT", "NULL"]) {
        Some(false)
    } else if c.accept_word("NULL") {
        Some(true)
    } else {
        None
    };
    let mut column = ColumnAst {
        name,
        sql_type,
        key,
        nullable,
        default: None,
        generated: false,
        auto_increment: false,
    };
    if c.accept_word("DEFAULT") {
        column.default = Some(default(c)?);
    } else if c.accept_word("AS") {
        column.generated = true;
        c.until(&["COMMENT"], &[",", ")"])?;
    } else if c.accept_word("AUTO_INCREMENT") {
        column.auto_increment = true;
    }
    c.comment()?;
    Ok(column)
}

fn default(c: &mut Cursor<'_>) -> Parsed<DefaultAst> {
    if c.accept_word("NULL") {
        return Ok(DefaultAst::Null);
    }
    if c.accept_word("CURRENT_TIMESTAMP") {
        if c.accept("(") {
            c.expect(")")?;
        }
        return Ok(DefaultAst::CurrentTimestamp);
    }
    if c.accept("(") {
        let function = c.ident()?.to_ascii_lowercase();
        c.parenthesised_or_empty()?;
        c.expect(")")?;
        return Ok(match function.as_str() {
            "now" => DefaultAst::CurrentTimestamp,
            _ => DefaultAst::Function(function),
        });
    }
    c.string().map(DefaultAst::Literal)
}

fn key(c: &mut Cursor<'_>) -> Parsed<Option<KeyAst>> {
    let models = [
        ("PRIMARY", KeyModel::Primary),
        ("DUPLICATE", KeyModel::Duplicate),
        ("UNIQUE", KeyModel::Unique),
        ("AGGREGATE", KeyModel::Aggregate),
    ];
    for (word, model) in models {
        if c.accept_words(&[word, "KEY"]) {
            let columns = c.ident_list()?;
            return Ok(Some(KeyAst { model, columns }));
        }
    }
    Ok(None)
}

fn partition(c: &mut Cursor<'_>) -> Parsed<Option<PartitionAst>> {
    if !c.accept_words(&["PARTITION", "BY"]) {
        return Ok(None);
    }
    let columns = if c.accept_word("RANGE") || c.accept_word("LIST") {
        let columns = c.ident_list()?;
        c.expect("(")?;
        if !c.is(")") {
            partition_item(c)?;
            while c.accept(",") {
                partition_item(c)?;
            }
        }
        c.expect(")")?;
        columns
    } else if c.is("(") {
        c.ident_list()?
    } else {
        c.until(
            &[
                "DISTRIBUTED",
                "ORDER",
                "ROLLUP",
                "PROPERTIES",
                "REFRESH",
                "COMMENT",
                "AS",
            ],
            &[],
        )?
    };
    Ok(Some(PartitionAst { columns }))
}

/// `PARTITION p VALUES …` or `START … END … EVERY …`.
pub(super) fn partition_item(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_word("PARTITION") {
        c.if_not_exists();
        c.ident()?;
        return partition_values(c);
    }
    partition_range(c)
}

/// After a partition's name.
pub(super) fn partition_values(c: &mut Cursor<'_>) -> Parsed<()> {
    c.expect_words(&["VALUES"])?;
    if c.accept_word("IN") {
        return c.parenthesised();
    }
    if c.accept_words(&["LESS", "THAN"]) {
        return if c.accept_word("MAXVALUE") {
            Ok(())
        } else {
            c.parenthesised()
        };
    }
    // [("a"), ("b"))
    c.expect("[")?;
    c.parenthesised()?;
    c.expect(",")?;
    c.parenthesised()?;
    c.expect(")")
}

/// `START ("…") END ("…") EVERY (INTERVAL 1 DAY)`.
pub(super) fn partition_range(c: &mut Cursor<'_>) -> Parsed<()> {
    c.expect_words(&["START"])?;
    c.list(Cursor::string)?;
    c.expect_words(&["END"])?;
    c.list(Cursor::string)?;
    c.expect_words(&["EVERY"])?;
    c.parenthesised()
}

pub(super) fn distribution(c: &mut Cursor<'_>) -> Parsed<Option<DistributionAst>> {
    if !c.accept_words(&["DISTRIBUTED", "BY"]) {
        return Ok(None);
    }
    let distribution = if c.accept_word("RANDOM") {
        DistributionAst::Random
    } else {
        c.expect_words(&["HASH"])?;
        DistributionAst::Hash(c.ident_list()?)
    };
    let buckets = c.accept_word("BUCKETS")
        || (c.has(Feature::DefaultBuckets) && c.accept_words(&["DEFAULT", "BUCKETS"]));
    if buckets {
        c.integer()?;
    }
    Ok(Some(distribution))
}

/// After `INDEX`.
pub(super) fn index(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident()?;
    c.ident_list()?;
    if c.accept_word("USING") {
        let known = c.accept_any(&["BITMAP", "GIN", "VECTOR"])
            || (c.has(Feature::NgramBloomFilterIndex) && c.accept_word("NGRAMBF"));
        if !known {
            return c.unexpected("a kind of index this version has");
        }
        if c.is("(") {
            c.property_list()?;
        }
    }
    c.comment()
}
