//! The stand-in through its doors. Every test has a cluster of its own.

mod alter_jobs;
mod corpus;
mod exhibit;
mod faults;
mod grants;
mod header_phase;
mod java_sdk;
mod json_rules;
mod labels;
mod mysql_client;
mod nodes;
mod queries;
mod sqlalchemy;
mod statements;
mod transactions;
