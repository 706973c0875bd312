//! Statements the operator may run. Nothing else reaches StarRocks: a change that has no variant here cannot happen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tributary_crds::column::ColumnType;
use tributary_crds::template::Privilege;

/// `database.table`, unquoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub database: String,
    pub table: String,
}

impl TableName {
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            table: table.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// One column as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    pub name: String,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// Literal text.
    pub default: Option<String>,
    pub comment: Option<String>,
}

impl ColumnDef {
    pub fn nullable(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self {
            name: name.into(),
            column_type,
            nullable: true,
            default: None,
            comment: None,
        }
    }

    pub fn not_null(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self {
            nullable: false,
            ..Self::nullable(name, column_type)
        }
    }
}

/// Automatic partitioning. Manual ranges and lists are not offered: partitions would need somebody to add them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// `date_trunc('month', c)`.
    DateTrunc { unit: TimeUnit, column: String },
    /// `(c1, c2)`.
    Columns(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl TimeUnit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Hour,
            Self::Day,
            Self::Week,
            Self::Month,
            Self::Quarter,
            Self::Year,
        ];
        all.into_iter().find(|u| u.as_str().eq_ignore_ascii_case(text))
    }
}

impl PartitionBy {
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::DateTrunc { column, .. } => vec![column],
            Self::Columns(columns) => columns.iter().map(String::as_str).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "partitionBy {0:?}: write date_trunc('<hour|day|week|month|quarter|year>', column) or a list of columns"
)]
pub struct PartitionByError(String);

impl FromStr for PartitionBy {
    type Err = PartitionByError;

    /// `date_trunc('month', created_on)`, `tenant`, `(tenant, created_on)`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use super::lex::{Token, tokens};
        let error = || PartitionByError(text.chars().take(80).collect());
        let all = tokens(text).map_err(|_| error())?;
        let kinds: Vec<&Token> = all.iter().map(|t| &t.token).collect();
        if let [
            Token::Word(f),
            Token::Sym("("),
            Token::Str(unit),
            Token::Sym(","),
            column,
            Token::Sym(")"),
        ] = kinds.as_slice()
            && f.eq_ignore_ascii_case("date_trunc")
        {
            let unit = TimeUnit::parse(unit).ok_or_else(error)?;
            let column = column.name().ok_or_else(error)?.to_owned();
            return Ok(Self::DateTrunc { unit, column });
        }
        let inner = match kinds.as_slice() {
            [Token::Sym("("), inner @ .., Token::Sym(")")] => inner,
            all => all,
        };
        let columns: Option<Vec<String>> = inner
            .chunks(2)
            .map(|pair| match pair {
                [column] | [column, Token::Sym(",")] => column.name().map(str::to_owned),
                _ => None,
            })
            .collect();
        match columns {
            Some(columns) if !columns.is_empty() && inner.len() % 2 == 1 => Ok(Self::Columns(columns)),
            _ => Err(error()),
        }
    }
}

/// `DISTRIBUTED BY HASH(…) [BUCKETS n]`; without buckets StarRocks chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashDistribution {
    pub columns: Vec<String>,
    pub buckets: Option<u32>,
}

/// A primary-key table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    pub name: TableName,
    /// Key columns first, in the order of `primary_key`.
    pub columns: Vec<ColumnDef>,
    pub primary_key: Vec<String>,
    pub comment: Option<String>,
    pub partition_by: Option<PartitionBy>,
    pub distribute_by: HashDistribution,
    /// Sort key; the primary key when empty.
    pub order_by: Vec<String>,
    pub properties: BTreeMap<String, String>,
}

/// The view that shows a soft-deleting table without its tombstones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateView {
    pub name: TableName,
    pub columns: Vec<String>,
    /// Where its rows are.
    pub rows: TableName,
    /// The owner mark.
    pub comment: String,
}

/// What a privilege is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Table,
    View,
}

impl Object {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
        }
    }
}

/// Privileges of one role on one table or view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantStatement {
    pub object: Object,
    pub name: TableName,
    pub role: String,
    pub privileges: Vec<Privilege>,
}

impl GrantStatement {
    /// `SELECT on shop.orders to role readers`, as a message says it.
    pub fn text(&self) -> String {
        format!("{} on {} to role {}", self.privileges(), self.name, self.role)
    }

    fn privileges(&self) -> String {
        let words: Vec<&str> = self.privileges.iter().map(|p| p.as_str()).collect();
        words.join(", ")
    }
}

/// A statement. `Display` spells it for StarRocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    CreateDatabase {
        name: String,
    },
    /// Without `IF NOT EXISTS`: an unexpected table is a conflict to be seen, not to be skipped.
    CreateTable(CreateTable),
    /// Value columns at the end; one statement, so that one schema version holds them all.
    AddColumns {
        table: TableName,
        columns: Vec<ColumnDef>,
    },
    /// The owner mark lives in the comment.
    SetTableComment {
        table: TableName,
        comment: String,
    },
    /// Metadata only; from 3.4 on.
    SetColumnComment {
        table: TableName,
        column: String,
        comment: String,
    },
    /// Without FORCE: recoverable for the server's trash time.
    DropTable {
        table: TableName,
    },
    /// Without `OR REPLACE`: an unexpected view or table is a conflict.
    CreateView(CreateView),
    /// The same view with other columns; who may read it stays.
    ReplaceView(CreateView),
    DropView {
        view: TableName,
    },
    Grant(GrantStatement),
    Revoke(GrantStatement),
}

impl Statement {
    /// The table it concerns; `None` for a database.
    pub fn table(&self) -> Option<&TableName> {
        match self {
            Self::CreateDatabase { .. } => None,
            Self::CreateTable(create) => Some(&create.name),
            Self::AddColumns { table, .. }
            | Self::SetTableComment { table, .. }
            | Self::SetColumnComment { table, .. }
            | Self::DropTable { table }
            | Self::DropView { view: table } => Some(table),
            Self::CreateView(view) | Self::ReplaceView(view) => Some(&view.name),
            Self::Grant(grant) | Self::Revoke(grant) => Some(&grant.name),
        }
    }

    /// Short text for messages, such as `create table shop.orders`.
    pub fn summary(&self) -> String {
        match self {
            Self::CreateDatabase { name } => format!("create database {name}"),
            Self::CreateTable(create) => format!("create table {}", create.name),
            Self::AddColumns { table, columns } => {
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                format!("add columns {} to {table}", names.join(", "))
            }
            Self::SetTableComment { table, .. } => format!("set comment of {table}"),
            Self::SetColumnComment { table, column, .. } => {
                format!("set comment of {table} column {column}")
            }
            Self::DropTable { table } => format!("drop table {table}"),
            Self::CreateView(view) => format!("create view {}", view.name),
            Self::ReplaceView(view) => format!("replace view {}", view.name),
            Self::DropView { view } => format!("drop view {view}"),
            Self::Grant(g) => format!("grant {}", g.text()),
            Self::Revoke(g) => format!("revoke {} on {} from role {}", g.privileges(), g.name, g.role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitionings_are_read_as_people_write_them() {
        assert_eq!(
            "date_trunc('month', created_on)".parse(),
            Ok(PartitionBy::DateTrunc {
                unit: TimeUnit::Month,
                column: "created_on".into()
            })
        );
        assert_eq!(
            "(tenant, `created_on`)".parse(),
            Ok(PartitionBy::Columns(vec!["tenant".into(), "created_on".into()]))
        );
        assert_eq!("tenant".parse(), Ok(PartitionBy::Columns(vec!["tenant".into()])));
        for text in [
            "",
            "a,",
            "a b",
            "date_trunc('fortnight', c)",
            "RANGE(c)",
            "date_trunc('day', c) PARTITIONS 3",
        ] {
            assert!(text.parse::<PartitionBy>().is_err(), "{text}");
        }
    }
}
