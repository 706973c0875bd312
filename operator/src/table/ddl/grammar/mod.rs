//! A recursive descent through StarRocks' DDL: enough of the grammar to agree with the real parser on statements an
//! operator writes or meets. Query bodies and expressions are only checked for balance. What follows a version goes
//! through [`Feature`].

mod alter_table;
mod create_table;
mod cursor;
mod other;
mod types;

use super::version::Version;

use cursor::{Cursor, Parsed};
pub(super) use types::{SqlType, TypeName};

/// What the rules need to know about a statement.
#[derive(Clone, Debug)]
pub(super) enum Ast {
    CreateTable(TableAst),
    AlterTable(Vec<Clause>),
    /// Nothing to check beyond grammar.
    Other,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TableAst {
    pub(super) columns: Vec<ColumnAst>,
    pub(super) key: Option<KeyAst>,
    pub(super) partition: Option<PartitionAst>,
    pub(super) distribution: Option<DistributionAst>,
    pub(super) order_by: Vec<String>,
    pub(super) properties: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnAst {
    pub(super) name: String,
    pub(super) sql_type: SqlType,
    pub(super) key: bool,
    /// `None`: not said.
    pub(super) nullable: Option<bool>,
    pub(super) default: Option<DefaultAst>,
    pub(super) generated: bool,
    pub(super) auto_increment: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DefaultAst {
    Null,
    Literal(String),
    CurrentTimestamp,
    /// `(uuid())`: the function's name in lower case.
    Function(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyModel {
    Primary,
    Duplicate,
    Unique,
    Aggregate,
}

#[derive(Clone, Debug)]
pub(super) struct KeyAst {
    pub(super) model: KeyModel,
    pub(super) columns: Vec<String>,
}

/// Columns a partitioning names; an expression contributes the bare names inside it.
#[derive(Clone, Debug)]
pub(super) struct PartitionAst {
    pub(super) columns: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum DistributionAst {
    Random,
    Hash(Vec<String>),
}

/// One clause of ALTER TABLE.
#[derive(Clone, Debug)]
pub(super) enum Clause {
    AddColumns(Vec<ColumnAst>),
    DropColumn,
    ModifyColumn(Box<ColumnAst>),
    ModifyComment,
    Field,
    RenameColumn,
    Index,
    SetProperties(Vec<(String, String)>),
    OrderBy,
    /// RENAME, SWAP, COMMENT, partitions, distribution: each stands alone.
    Alone,
}

impl Clause {
    /// Whether the server runs it in a schema change, where clauses may be batched.
    pub(super) fn is_schema_change(&self) -> bool {
        match self {
            Self::AddColumns(_)
            | Self::DropColumn
            | Self::ModifyColumn(_)
            | Self::ModifyComment
            | Self::Field
            | Self::Index
            | Self::OrderBy => true,
            Self::SetProperties(p) => p.iter().any(|(k, _)| k.starts_with("bloom_filter")),
            Self::RenameColumn | Self::Alone => false,
        }
    }
}

/// Reads one statement, with or without a final semicolon.
pub(super) fn parse(sql: &str, version: Version) -> Parsed<Ast> {
    let tokens = super::lex::tokens(sql)?;
    let mut cursor = Cursor::new(&tokens, sql.len(), version);
    let ast = statement(&mut cursor)?;
    cursor.accept(";");
    cursor.end()?;
    Ok(ast)
}

fn statement(c: &mut Cursor<'_>) -> Parsed<Ast> {
    if c.accept_words(&["CREATE"]) {
        if c.accept_words(&["TABLE"])
            || c.accept_words(&["EXTERNAL", "TABLE"])
            || c.accept_words(&["TEMPORARY", "TABLE"])
        {
            return create_table::create_table(c);
        }
        other::create(c)?;
    } else if c.accept_words(&["ALTER", "TABLE"]) {
        return alter_table::alter_table(c);
    } else {
        other::rest(c)?;
    }
    Ok(Ast::Other)
}
