//! DDL of the hot cluster: typed statements, their one renderer, the rules StarRocks puts on them, and the plan that
//! leads from a live table to the wanted one. All pure; `backend::starrocks` runs the statements.
//!
//! * [`statement`]: what can be said; [`render`]: how it is spelled.
//! * [`check`]: whether a given StarRocks version would take a text ([`lex`] and the grammar are its lower floors).
//! * [`plan`]: the difference between a wanted and a live table, as statements or as findings.

pub mod check;
pub mod difference;
mod grammar;
pub mod lex;
pub mod plan;
pub mod render;
pub mod statement;
pub mod version;

pub use check::{Rule, Violation, check, check_syntax};
pub use difference::{ChangeClass, Difference};
pub use plan::{DdlAction, Plan, Refusal, plan};
pub use render::Ident;
pub use statement::{
    ColumnDef, CreateTable, CreateView, GrantStatement, HashDistribution, Object, PartitionBy, Statement,
    TableName,
};
pub use version::Version;
