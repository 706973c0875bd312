//! The one place that spells SQL. Identifiers are always quoted, lengths always printed, and what a server default could
//! change under us is always said: distribution, `fast_schema_evolution`, nullability.

use std::fmt::{self, Display, Write};

use tributary_crds::relay::DELETED_COLUMN;

use super::statement::{
    ColumnDef, CreateTable, CreateView, GrantStatement, PartitionBy, Statement, TableName,
};

/// `` `name` ``, with backticks doubled.
pub struct Ident<'a>(pub &'a str);

impl Display for Ident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        for c in self.0.chars() {
            if c == '`' {
                f.write_char('`')?;
            }
            f.write_char(c)?;
        }
        f.write_char('`')
    }
}

/// `"text"`, escaped as StarRocks' MySQL dialect reads it.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\0' => f.write_str("\\0")?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

struct Table<'a>(&'a TableName);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Ident(&self.0.database), Ident(&self.0.table))
    }
}

struct List<'a>(&'a [String]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            write!(f, "{}", Ident(name))?;
        }
        Ok(())
    }
}

struct Column<'a>(&'a ColumnDef);

impl Display for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.0;
        let null = if c.nullable { "NULL" } else { "NOT NULL" };
        write!(f, "{} {} {null}", Ident(&c.name), c.column_type)?;
        if let Some(default) = &c.default {
            write!(f, " DEFAULT {}", Text(default))?;
        }
        if let Some(comment) = &c.comment {
            write!(f, " COMMENT {}", Text(comment))?;
        }
        Ok(())
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateDatabase { name } => {
                write!(f, "CREATE DATABASE IF NOT EXISTS {}", Ident(name))
            }
            Self::CreateTable(create) => write!(f, "{create}"),
            Self::AddColumns { table, columns } => {
                write!(f, "ALTER TABLE {}", Table(table))?;
                for (i, column) in columns.iter().enumerate() {
                    f.write_str(if i == 0 { " " } else { ", " })?;
                    write!(f, "ADD COLUMN {}", Column(column))?;
                }
                Ok(())
            }
            Self::SetTableComment { table, comment } => {
                let comment = Text(comment);
                write!(f, "ALTER TABLE {} COMMENT = {comment}", Table(table))
            }
            Self::SetColumnComment {
                table,
                column,
                comment,
            } => write!(
                f,
                "ALTER TABLE {} MODIFY COLUMN {} COMMENT {}",
                Table(table),
                Ident(column),
                Text(comment)
            ),
            Self::DropTable { table } => write!(f, "DROP TABLE {}", Table(table)),
            Self::CreateView(view) => write!(f, "CREATE VIEW {}", View(view)),
            Self::ReplaceView(view) => write!(f, "CREATE OR REPLACE VIEW {}", View(view)),
            Self::DropView { view } => write!(f, "DROP VIEW {}", Table(view)),
            Self::Grant(grant) => write!(f, "GRANT {} TO ROLE {}", Granted(grant), Ident(&grant.role)),
            Self::Revoke(grant) => write!(f, "REVOKE {} FROM ROLE {}", Granted(grant), Ident(&grant.role)),
        }
    }
}

/// `SELECT, EXPORT ON TABLE a.b`.
struct Granted<'a>(&'a GrantStatement);

impl Display for Granted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, privilege) in self.0.privileges.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(privilege.as_str())?;
        }
        write!(f, " ON {} {}", self.0.object.as_str(), Table(&self.0.name))
    }
}

/// Everything after `VIEW`. Columns are named twice, never `*`: a star is frozen at creation.
struct View<'a>(&'a CreateView);

impl Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        let columns = List(&v.columns);
        write!(f, "{} ({columns}) COMMENT {} ", Table(&v.name), Text(&v.comment))?;
        let deleted = Ident(DELETED_COLUMN);
        write!(
            f,
            "AS SELECT {columns} FROM {} WHERE {deleted} IS NULL OR {deleted} = FALSE",
            Table(&v.rows)
        )
    }
}

impl Display for CreateTable {
    /// Clause order is fixed by the grammar: COMMENT, PARTITION BY, DISTRIBUTED BY, ORDER BY, PROPERTIES.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CREATE TABLE {} (", Table(&self.name))?;
        for (i, column) in self.columns.iter().enumerate() {
            let end = if i + 1 < self.columns.len() { "," } else { "" };
            writeln!(f, "  {}{end}", Column(column))?;
        }
        writeln!(f, ") ENGINE=OLAP")?;
        writeln!(f, "PRIMARY KEY ({})", List(&self.primary_key))?;
        if let Some(comment) = &self.comment {
            writeln!(f, "COMMENT {}", Text(comment))?;
        }
        match &self.partition_by {
            Some(PartitionBy::DateTrunc { unit, column }) => {
                let column = Ident(column);
                writeln!(f, "PARTITION BY date_trunc('{}', {column})", unit.as_str())?;
            }
            Some(PartitionBy::Columns(columns)) => writeln!(f, "PARTITION BY ({})", List(columns))?,
            None => {}
        }
        // Always said: from 4.1 on a shared-data cluster would distribute by range without it.
        write!(f, "DISTRIBUTED BY HASH({})", List(&self.distribute_by.columns))?;
        if let Some(buckets) = self.distribute_by.buckets {
            write!(f, " BUCKETS {buckets}")?;
        }
        writeln!(f)?;
        if !self.order_by.is_empty() {
            writeln!(f, "ORDER BY ({})", List(&self.order_by))?;
        }
        self.write_properties(f)
    }
}

impl CreateTable {
    fn write_properties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut properties = self.properties.clone();
        // Can only be set at creation, and 3.2 defaults to off: without it every ADD COLUMN rewrites the table.
        for (key, value) in [
            ("fast_schema_evolution", "true"),
            ("enable_persistent_index", "true"),
        ] {
            properties
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
        f.write_str("PROPERTIES (")?;
        for (i, (key, value)) in properties.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            write!(f, "{} = {}", Text(key), Text(value))?;
        }
        f.write_char(')')
    }
}
