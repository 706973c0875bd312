//! Tables: their definition, their rows and versions, and the catalog that names them.

pub mod catalog;
pub mod compaction;
pub mod key;
pub mod schema;
pub mod store;
pub mod types;
pub mod value;
