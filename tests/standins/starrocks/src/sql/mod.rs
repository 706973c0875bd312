//! The SQL front end: parser, rules, statements.

pub mod access;
pub mod account;
pub mod alter;
pub mod ast;
pub mod ddl;
pub mod dml;
pub mod error;
pub mod grid;
pub mod info_schema;
pub mod lex;
pub mod parse;
pub mod parse_account;
pub mod parse_alter;
pub mod parse_table;
pub mod render;
pub mod rules;
pub mod session;
pub mod show;
pub mod variables;
