//! The mapping of a dataset: path grammar, `$…` sources, literals, and the compiler to [`crate::relay::DatasetConfig`].

pub mod path;
pub mod source;

#[cfg(feature = "kube")]
mod dataset;
#[cfg(feature = "kube")]
mod identity;
#[cfg(feature = "kube")]
mod keysize;
#[cfg(feature = "kube")]
mod layout;
#[cfg(feature = "kube")]
mod literal;
#[cfg(feature = "kube")]
mod partition;
#[cfg(feature = "kube")]
mod table;

#[cfg(feature = "kube")]
pub use dataset::compile_dataset;
#[cfg(feature = "kube")]
pub use identity::KeyIdentity;
#[cfg(feature = "kube")]
pub use partition::{PartitionBy, TimeUnit};
#[cfg(feature = "kube")]
pub use table::{CompiledColumn, CompiledTable, TableOrigin, compile_table};

use std::fmt;

/// Something in a spec that cannot be, with the field it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// `datasets[orders].hot.tables[order-lines].columns[net_minor].from`: list items by their key.
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            message: message.to_string(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for FieldError {}

/// All errors in one sentence, the first ones in full: what a condition's message holds.
pub fn summary(errors: &[FieldError]) -> String {
    const SHOWN: usize = 3;
    let mut text = errors
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if errors.len() > SHOWN {
        text.push_str(&format!("; and {} more", errors.len() - SHOWN));
    }
    text
}
