//! Guards of the binding rules of `correctness.md`, by name, so that a test can show that it goes red without one.

use std::sync::OnceLock;

/// Debug builds only: the guards to turn off, comma separated.
pub const ABLATE_ENV: &str = "TRIBUTARY_OPERATOR_ABLATE";

/// What keeps one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// DESIGN §2: two operators never both write.
    LeaderFence,
    /// Rule 2: another topic id or partition count stops the lane.
    TopicIdentity,
    /// Rule 25: in a terminating namespace, what cannot be reached is left behind after a bound.
    NamespaceYields,
    /// Rule 18: a mapping names only columns that were read in information_schema.
    VerifiedColumns,
    /// Rule 5: lost history stops the connector; nothing but a person's act starts it again.
    HistoryHold,
    /// Rule 6: a source that may send older state again is said to.
    SourceExactlyOnce,
}

impl Guard {
    /// As tests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaderFence => "leader-fence",
            Self::TopicIdentity => "topic-identity",
            Self::NamespaceYields => "namespace-yields",
            Self::VerifiedColumns => "verified-columns",
            Self::HistoryHold => "history-hold",
            Self::SourceExactlyOnce => "source-exactly-once",
        }
    }

    /// Whether the rule is kept: always, but in a debug build that was told otherwise.
    pub fn holds(self) -> bool {
        !cfg!(debug_assertions) || !ablated().iter().any(|name| name == self.name())
    }
}

#[cfg(test)]
impl Guard {
    /// Runs one test of this binary in a process of its own, without this guard: it must fail.
    pub(crate) fn assert_red(self, test: &str) {
        let binary = std::env::current_exe().expect("a test binary");
        let run = std::process::Command::new(binary)
            .env(ABLATE_ENV, self.name())
            .args(["--exact", test])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(text.contains("running 1 test"), "there is no test {test}: {text}");
        assert!(
            !run.status.success(),
            "{test} does not notice that {} is gone",
            self.name()
        );
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
