//! Guards of the binding rules of `correctness.md`, by name, so that a test can show that it goes red without one.

use std::sync::OnceLock;

/// Debug builds only: the guards to turn off, comma separated.
pub const ABLATE_ENV: &str = "TRIBUTARY_OPERATOR_ABLATE";

/// What keeps one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// DESIGN §2: two operators never both write.
    LeaderFence,
}

impl Guard {
    /// As tests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaderFence => "leader-fence",
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
