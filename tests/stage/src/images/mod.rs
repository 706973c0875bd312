//! Container images without a daemon: docker archives written from a list of files.

mod archive;
mod closure;
mod product;

pub use archive::Image;
pub use closure::closure;
pub use product::{OPERATOR, ProductImages, RELAY, product};

/// On every stage's node: a user and /tmp, and no program. For pods that mount this machine's.
pub const EMPTY: &str = "tributary.dev/stage-empty:1";
