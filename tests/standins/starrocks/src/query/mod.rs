//! SELECTs: StarRocks SQL to DataFusion over the visible rows and information_schema.

pub mod arrow;
pub mod cells;
pub mod engine;
pub mod functions;
pub mod provider;
pub mod rewrite;
