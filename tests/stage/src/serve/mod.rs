//! What runs inside the stage's namespace: raises the parts, announces them, and watches over them.

mod context;

pub use context::Context;
