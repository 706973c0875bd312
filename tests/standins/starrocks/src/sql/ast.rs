//! Statements the stand-in understands, as parsed.

use std::collections::BTreeMap;

use crate::table::schema::{DefaultValue, Index, TableModel};
use crate::table::types::ColumnType;

/// `[catalog.][db.]name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    pub db: Option<String>,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    pub name: String,
    pub ty: ColumnType,
    /// `NULL`, `NOT NULL` or nothing.
    pub nullable: Option<bool>,
    pub default: Option<DefaultValue>,
    pub comment: String,
    pub generated: Option<String>,
    pub auto_increment: bool,
}

#[derive(Debug, Clone)]
pub struct CreateTable {
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub columns: Vec<ColumnSpec>,
    pub indexes: Vec<Index>,
    pub engine: Option<String>,
    pub keys: Option<(TableModel, Vec<String>)>,
    pub comment: String,
    pub partition: Option<Partition>,
    pub distribution: Option<Distribution>,
    pub order_by: Option<Vec<String>>,
    pub properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Partition {
    /// As SHOW CREATE TABLE repeats it, after `PARTITION BY`.
    pub text: String,
    pub columns: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum Distribution {
    Hash {
        columns: Vec<String>,
        buckets: Option<u32>,
    },
    Random {
        buckets: Option<u32>,
    },
}

#[derive(Debug, Clone)]
pub enum AlterClause {
    AddColumn {
        column: ColumnSpec,
        position: Option<Position>,
    },
    DropColumn(String),
    ModifyColumn {
        column: ColumnSpec,
        position: Option<Position>,
    },
    ModifyComment {
        column: String,
        comment: String,
    },
    RenameColumn {
        from: String,
        to: String,
    },
    RenameTable(String),
    SwapWith(String),
    Comment(String),
    SetProperties(BTreeMap<String, String>),
    /// `PROPERTIES("timeout" = "…")` of the job.
    Timeout(u64),
    /// Parses, and is refused when run: the class is what the error names.
    Unsupported(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    First,
    After(String),
}

/// `LIKE '…'` or `WHERE …` behind SHOW.
#[derive(Debug, Clone, Default)]
pub struct ShowFilter {
    pub like: Option<String>,
    /// The source of WHERE, ORDER BY and LIMIT together.
    pub tail: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Show {
    Databases,
    Tables {
        full: bool,
        db: Option<String>,
    },
    TableStatus {
        db: Option<String>,
    },
    Columns {
        full: bool,
        table: ObjectName,
    },
    CreateTable(ObjectName),
    CreateView(ObjectName),
    CreateDatabase(String),
    AlterTableColumn {
        db: Option<String>,
    },
    AlterTableOptimize {
        db: Option<String>,
    },
    Variables,
    Warnings,
    Backends,
    Frontends,
    ComputeNodes,
    Catalogs,
    Processlist,
    Proc(String),
    FrontendConfig,
    Partitions(ObjectName),
    Users,
    Roles,
    /// Of the session's user, unless said.
    Grants(Option<Grantee>),
    Engines,
    Charset,
    Collation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Alter,
    Drop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    User(String),
    Role(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    System,
    Catalog,
    AllDatabases,
    Database,
    AllTables,
    Table,
    AllViews,
    View,
}

/// Roles of SET [DEFAULT] ROLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    All,
    Default,
    Named(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    User {
        verb: Verb,
        /// `IF [NOT] EXISTS`
        lenient: bool,
        name: String,
        password: Option<String>,
        default_roles: Vec<String>,
    },
    Roles {
        verb: Verb,
        lenient: bool,
        names: Vec<String>,
    },
    Privileges {
        revoke: bool,
        privileges: Vec<String>,
        kind: ObjectKind,
        names: Vec<ObjectName>,
        to: Grantee,
    },
    RolesTo {
        revoke: bool,
        roles: Vec<String>,
        to: Grantee,
    },
    SetRole(Chosen),
    SetDefaultRole {
        roles: Chosen,
        user: String,
    },
    SetPassword {
        user: Option<String>,
        password: String,
    },
}

impl Account {
    /// Everybody may do this for themselves.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::SetRole(_) | Self::SetPassword { user: None, .. })
    }
}

#[derive(Debug, Clone)]
pub enum Statement {
    CreateDatabase {
        if_not_exists: bool,
        name: String,
    },
    DropDatabase {
        if_exists: bool,
        name: String,
        force: bool,
    },
    CreateTable(Box<CreateTable>),
    CreateTableLike {
        if_not_exists: bool,
        name: ObjectName,
        like: ObjectName,
    },
    DropTable {
        if_exists: bool,
        name: ObjectName,
        force: bool,
    },
    TruncateTable(ObjectName),
    RecoverTable(ObjectName),
    AlterTable {
        name: ObjectName,
        clauses: Vec<AlterClause>,
    },
    CancelAlter {
        name: ObjectName,
        /// Job ids; none means whichever runs.
        jobs: Vec<i64>,
    },
    Account(Account),
    CreateView {
        or_replace: bool,
        if_not_exists: bool,
        name: ObjectName,
        columns: Vec<(String, String)>,
        comment: String,
        query: String,
    },
    DropView {
        if_exists: bool,
        name: ObjectName,
    },
    Show(Show, ShowFilter),
    Describe(ObjectName),
    Use(String),
    /// `ADMIN SET FRONTEND CONFIG`.
    SetConfig(BTreeMap<String, String>),
    /// `SET …`: the assignments' source.
    Set(String),
    Sync,
    /// Anything DataFusion runs.
    Query(String),
    /// `INSERT INTO t [(cols)] VALUES … | SELECT …`: the part behind the column list is the query.
    Insert {
        table: ObjectName,
        columns: Option<Vec<String>>,
        query: String,
    },
    Delete {
        table: ObjectName,
        filter: String,
    },
    /// `BEGIN`, `COMMIT`, `KILL`: accepted, no effect.
    Nothing,
}
