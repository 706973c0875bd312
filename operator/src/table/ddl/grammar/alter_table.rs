//! `ALTER TABLE`. No version has `ADD COLUMN IF NOT EXISTS` or `DROP COLUMN IF EXISTS`.

use super::super::version::Feature;
use super::create_table::{column, distribution, index, partition_item, partition_range};
use super::cursor::{Cursor, Parsed};
use super::types::sql_type;
use super::{Ast, Clause};

/// After `ALTER TABLE`.
pub(super) fn alter_table(c: &mut Cursor<'_>) -> Parsed<Ast> {
    c.qualified()?;
    let mut clauses = vec![clause(c)?];
    while c.accept(",") {
        clauses.push(clause(c)?);
    }
    Ok(Ast::AlterTable(clauses))
}

fn clause(c: &mut Cursor<'_>) -> Parsed<Clause> {
    if c.accept_word("ADD") {
        return add(c);
    }
    if c.accept_word("DROP") {
        return drop_item(c);
    }
    if c.accept_words(&["MODIFY", "COLUMN"]) {
        return modify_column(c);
    }
    if c.accept_word("RENAME") {
        return rename(c);
    }
    if c.accept_word("SWAP") {
        c.expect_words(&["WITH"])?;
        return c.ident().map(|_| Clause::Alone);
    }
    if c.accept_words(&["ORDER", "BY"]) {
        return c.ident_list().map(|_| Clause::OrderBy);
    }
    if c.accept_word("COMMENT") {
        c.expect("=")?;
        return c.string().map(|_| Clause::Alone);
    }
    if c.accept_word("SET") {
        return c.property_list().map(Clause::SetProperties);
    }
    if distribution(c)?.is_some() {
        return Ok(Clause::Alone);
    }
    c.unexpected("a clause of ALTER TABLE")
}

fn add(c: &mut Cursor<'_>) -> Parsed<Clause> {
    if c.accept_word("COLUMN") {
        if c.is("(") {
            let columns = c.list(column)?;
            c.properties()?;
            return Ok(Clause::AddColumns(columns));
        }
        let added = column(c)?;
        position(c)?;
        c.properties()?;
        return Ok(Clause::AddColumns(vec![added]));
    }
    if c.accept_word("INDEX") {
        return index(c).map(|()| Clause::Index);
    }
    c.accept_word("TEMPORARY");
    if c.accept_word("PARTITIONS") {
        partition_range(c)?;
    } else {
        partition_item(c)?;
        distribution(c)?;
    }
    if c.is("(") {
        c.property_list()?;
    }
    c.properties()?;
    Ok(Clause::Alone)
}

fn drop_item(c: &mut Cursor<'_>) -> Parsed<Clause> {
    if c.accept_word("COLUMN") {
        c.ident()?;
        if c.accept_word("FROM") {
            c.ident()?;
        }
        return Ok(Clause::DropColumn);
    }
    if c.accept_word("INDEX") {
        return c.ident().map(|_| Clause::Index);
    }
    if c.accept_word("ROLLUP") {
        c.ident()?;
        return Ok(Clause::Alone);
    }
    c.accept_word("TEMPORARY");
    if c.has(Feature::DropPartitionsWhere) && c.accept_word("PARTITIONS") {
        c.if_exists();
        if c.accept_word("WHERE") {
            c.until(&[], &[","])?;
        } else if c.is("(") {
            c.ident_list()?;
        } else {
            partition_range(c)?;
        }
    } else {
        c.expect_words(&["PARTITION"])?;
        c.if_exists();
        c.ident()?;
    }
    c.accept_word("FORCE");
    Ok(Clause::Alone)
}

/// After `MODIFY COLUMN`.
fn modify_column(c: &mut Cursor<'_>) -> Parsed<Clause> {
    let place = c.place();
    c.ident()?;
    if c.has(Feature::ModifyColumnComment) && c.accept_word("COMMENT") {
        return c.string().map(|_| Clause::ModifyComment);
    }
    if c.accept_words(&["ADD", "FIELD"]) {
        field_path(c)?;
        sql_type(c)?;
        position(c)?;
        return Ok(Clause::Field);
    }
    if c.accept_words(&["DROP", "FIELD"]) {
        return field_path(c).map(|()| Clause::Field);
    }
    c.go_back(place);
    let modified = column(c)?;
    position(c)?;
    c.properties()?;
    Ok(Clause::ModifyColumn(Box::new(modified)))
}

/// After `RENAME`.
fn rename(c: &mut Cursor<'_>) -> Parsed<Clause> {
    if c.accept_word("COLUMN") {
        c.ident()?;
        if c.has(Feature::RenameColumnTo) {
            c.expect_words(&["TO"])?;
        }
        return c.ident().map(|_| Clause::RenameColumn);
    }
    if c.accept_any(&["PARTITION", "ROLLUP"]) {
        c.ident()?;
    }
    c.ident().map(|_| Clause::Alone)
}

/// `[FIRST | AFTER column]`.
fn position(c: &mut Cursor<'_>) -> Parsed<()> {
    if !c.accept_word("FIRST") && c.accept_word("AFTER") {
        c.ident()?;
    }
    Ok(())
}

/// `a.b.[*].c`.
fn field_path(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident()?;
    while c.accept(".") {
        if !c.accept("[*]") {
            c.ident()?;
        }
    }
    Ok(())
}
