//! A stand-in for a MongoDB replica set: enough of the wire protocol that the Debezium MongoDB connector and the
//! official Rust and Python drivers take it for one, with faults on demand. Test equipment, never part of the product.
//!
//! * [`wire`]: frames and messages. `commands`: one handler per command. [`store`]: documents, filters, updates.
//! * [`oplog`]: what changed, when, and for how long it is remembered. [`changestream`]: how that is told.
//! * [`scram`]: who may come in. [`role`]: primary or not. [`oplog::journal`]: what a restart finds again.
//! * [`faults`] and `admin`: trouble, and the HTTP API that orders it.
//!
//! Deliberately not here: roles within a database, TLS, transactions, sharding, splitting of events that are too large.
//! What is not here is answered with an error that says so.

mod admin;
pub mod changestream;
mod commands;
pub mod error;
pub mod faults;
pub mod oplog;
pub mod role;
pub mod scram;
mod server;
pub mod store;
pub mod wire;

pub use oplog::Window;
pub use server::{Config, Standin};
