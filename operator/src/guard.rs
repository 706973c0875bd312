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
    /// Rule 2: a ledger that was lost is begun above the generations that rows carry.
    GenerationsAboveRows,
    /// Rule 3: one tenant's rows of a shared table have one writer.
    OneWriterPerRow,
    /// Rule 20: one operation at a time on a table.
    OneOperation,
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
            Self::GenerationsAboveRows => "generations-above-rows",
            Self::OneWriterPerRow => "one-writer-per-row",
            Self::OneOperation => "one-operation",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn read(file: impl AsRef<Path>) -> String {
        let path = repository().join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// `(variant, name)` of a crate's guards, as its `name()` says.
    fn guards(crate_name: &str) -> Vec<(String, String)> {
        let source = read(format!("{crate_name}/src/guard.rs"));
        let arms = source.lines().filter_map(|line| {
            let (variant, name) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
            Some((variant.to_owned(), name.trim_end_matches("\",").to_owned()))
        });
        arms.collect()
    }

    fn sources(folder: &Path, all: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("src/guard.rs") {
                all.push(std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }

    /// Whether some test names the guard in order to turn it off.
    fn is_turned_off(crate_name: &str, variant: &str) -> bool {
        let mut all = Vec::new();
        sources(&repository().join(crate_name), &mut all);
        let named = format!("Guard::{variant}");
        all.iter().flat_map(|text| text.lines()).any(|line| {
            let rest = line.split_once(&named).map(|(_, rest)| rest);
            rest.is_some_and(|rest| {
                !rest.starts_with(".holds()") && !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            })
        })
    }

    /// RULES.md, row by row: rule, guard, test.
    fn rows() -> Vec<[String; 3]> {
        let text = read("RULES.md");
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<&str> = line
                .strip_prefix("| ")?
                .trim_end_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            let [rule, guard, test] = cells[..] else {
                return None;
            };
            let clean = |cell: &str| cell.trim_matches('`').to_owned();
            rule.parse::<u32>().ok()?;
            Some([rule.to_owned(), clean(guard), clean(test)])
        });
        rows.collect()
    }

    #[test]
    fn every_guard_has_its_rule_and_a_test_that_goes_red_without_it() {
        let rows = rows();
        for crate_name in ["operator", "relay"] {
            let guards = guards(crate_name);
            assert!(guards.len() >= 5, "{guards:?}");
            for (variant, name) in &guards {
                let listed = format!("{crate_name}/{name}");
                assert!(
                    listed == "operator/leader-fence" || rows.iter().any(|[_, guard, _]| *guard == listed),
                    "RULES.md has no row for {listed}"
                );
                assert!(is_turned_off(crate_name, variant), "no test turns off {listed}");
            }
        }
        let known: BTreeSet<String> = ["operator", "relay"]
            .iter()
            .flat_map(|c| guards(c).into_iter().map(move |(_, name)| format!("{c}/{name}")))
            .collect();
        for [rule, guard, _] in &rows {
            assert!(
                guard == "-" || known.contains(guard),
                "rule {rule}: there is no guard {guard}"
            );
        }
        let binding = [1, 2, 3, 4, 7, 8, 9, 10, 12, 13, 18, 20, 25];
        for rule in binding {
            assert!(
                rows.iter().any(|[r, _, _]| *r == rule.to_string()),
                "RULES.md says nothing of rule {rule}"
            );
        }
    }

    #[test]
    fn the_tests_of_the_table_exist() {
        let mut all = Vec::new();
        for crate_name in ["operator", "relay", "crds"] {
            sources(&repository().join(crate_name), &mut all);
        }
        for [rule, _, test] in rows() {
            for name in test.split(", ").map(|t| t.trim_matches('`')) {
                let declared = format!("fn {name}(");
                assert!(
                    all.iter().any(|text| text.contains(&declared)),
                    "rule {rule}: there is no test {name}"
                );
            }
        }
    }
}
