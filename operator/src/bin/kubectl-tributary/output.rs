//! How an answer is printed, and what it makes of the exit code.

use clap::ValueEnum;
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Yaml,
}

/// What is true of the world, as `diff` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Nothing to do, or nothing wrong.
    Fine = 0,
    /// There are changes.
    Changes = 2,
    /// Something is wrong, or could not be looked at.
    Trouble = 1,
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

impl Answer {
    pub(crate) fn new<T: Serialize>(
        value: &T,
        format: Format,
        exit: Exit,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Self, Failure> {
        let text = match format {
            Format::Text => text(value),
            Format::Json => serde_json::to_string_pretty(value)? + "\n",
            Format::Yaml => serde_yaml::to_string(value)?,
        };
        Ok(Self { text, exit })
    }
}
