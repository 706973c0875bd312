//! Stream Load: headers, plan, rows, labels and the run that ties them together.

pub mod convert;
pub mod csv;
pub mod decode;
pub mod headers;
pub mod json;
pub mod plan;
pub mod rows;
pub mod run;
pub mod session;
pub mod txn;
