//! Guards of the binding rules of `correctness.md`, by name, so that a test can show that it goes red without one.

use std::sync::OnceLock;

/// Debug builds only: the guards to turn off, comma separated.
pub const ABLATE_ENV: &str = "TRIBUTARY_RELAY_ABLATE";

/// What keeps one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Rule 1: a load's label and ranges are committed before its first byte, and a new owner settles them first.
    Intents,
    /// Rule 8: an offset that holds no record is no gap.
    Holes,
    /// Rule 9: a table never receives an event at or below its own position.
    TablePositions,
    /// Rule 13: a blocked table drops its buffer and its siblings go on.
    BlockedTables,
    /// Rule 18: no load before every mapped column exists, none under an older mapping.
    MappingGenerations,
}

impl Guard {
    /// As tests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intents => "intents",
            Self::Holes => "holes",
            Self::TablePositions => "table-positions",
            Self::BlockedTables => "blocked-tables",
            Self::MappingGenerations => "mapping-generations",
        }
    }

    /// Whether the rule is kept: always, but in a debug build that was told otherwise.
    pub fn holds(self) -> bool {
        !cfg!(debug_assertions) || !ablated().iter().any(|name| name == self.name())
    }
}

fn ablated() -> &'static [String] {
    static ABLATED: OnceLock<Vec<String>> = OnceLock::new();
    ABLATED.get_or_init(|| {
        let named = std::env::var(ABLATE_ENV).unwrap_or_default();
        named
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    })
}
