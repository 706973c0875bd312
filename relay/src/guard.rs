//! Guards of the binding rules of `correctness.md`, by name, so that a test can show that it goes red without one.

use std::sync::OnceLock;

/// Debug builds only: the guards to turn off, comma separated.
pub const ABLATE_ENV: &str = "TRIBUTARY_RELAY_ABLATE";

/// What keeps one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Rule 1: a load's label and ranges are committed before its first byte, and a new owner settles them first.
    Intents,
    /// Rule 1: the part of a load that was taken apart is named in the announcement, and settled like the load.
    PartIntents,
    /// Rule 3: an `_id` of another BSON type than the key column's is not converted into it.
    DocumentKeys,
    /// Rule 4: what a document has no more is found in the table and taken away.
    TableIsIndex,
    /// Rule 7: `u` without `after` is a delete.
    AbsentNow,
    /// Rule 8: an offset that holds no record is no gap.
    Holes,
    /// Rule 9: a table never receives an event at or below its own position.
    TablePositions,
    /// Rule 9: an offset the group once had is missed when it is gone.
    LostOffsets,
    /// Rule 10: a document that does not match leaves a tombstone only where it had a row.
    Tombstones,
    /// Rule 12: a rejected load is taken apart per document.
    Isolation,
    /// Rule 12: a parked document is in the dead-letter topic before its offset passes.
    ParkBeforeProgress,
    /// Rule 12: and before a load whose label would tell the next owner that its range is done.
    ParkBeforeLoad,
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
            Self::PartIntents => "part-intents",
            Self::DocumentKeys => "document-keys",
            Self::LostOffsets => "lost-offsets",
            Self::Tombstones => "tombstones",
            Self::ParkBeforeLoad => "park-before-load",
            Self::TableIsIndex => "table-is-index",
            Self::AbsentNow => "absent-now",
            Self::Isolation => "isolation",
            Self::ParkBeforeProgress => "park-before-progress",
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

/// Runs one test of this binary again in a process without `guard`, where it must fail.
#[cfg(test)]
pub(crate) fn goes_red_without(guard: Guard, test: &str) {
    let program = std::env::current_exe().expect("this test binary");
    let output = std::process::Command::new(program)
        .args(["--exact", test])
        .env(ABLATE_ENV, guard.name())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("running 1 test"), "{test} is not a test: {text}");
    assert!(!output.status.success(), "{test} holds without {}", guard.name());
}
