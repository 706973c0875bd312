//! Programs of this workspace, built on demand.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::progress::say;
use crate::setup::{ended_within, read};

/// Cold, of everything, on two cores.
const LONGEST_BUILD: Duration = Duration::from_secs(2 * 3600);

/// The `tributary-stage` program: this one, or for a library user the one cargo makes.
pub(crate) fn stage() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell which program this is")?;
    if own.file_name().is_some_and(|name| name == "tributary-stage") {
        return Ok(own);
    }
    build(Selection::AsCargoTest, &["tributary-stage"]).map(|mut built| built.remove(0))
}

/// Which packages cargo is asked about. That decides the features of shared dependencies, and so what is compiled anew.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// In the profile dev, exactly as a plain `cargo test` builds them: without this, DataFusion is compiled twice.
    AsCargoTest,
    /// In the profile of images, these packages alone: no feature gets in that only a test wants.
    Image(&'a [&'a str]),
}

impl Selection<'_> {
    fn arguments(self) -> Vec<String> {
        let fixed = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        match self {
            // A test among the targets makes cargo count in the features of dev-dependencies; this one is small.
            Self::AsCargoTest => fixed(&["--workspace", "--test", "lifecycle"]),
            Self::Image(packages) => {
                let packages = packages.iter().map(|package| format!("--package={package}"));
                fixed(&["--profile", "image"])
                    .into_iter()
                    .chain(packages)
                    .collect()
            }
        }
    }
}

/// Builds the named programs of this workspace and returns where they are, in the same order.
pub fn build(selection: Selection<'_>, programs: &[&str]) -> Result<Vec<PathBuf>> {
    let stdout = tempfile::tempfile()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace())
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(selection.arguments())
        .args(programs.iter().flat_map(|program| ["--bin", program]))
        .envs(target_dir().map(|dir| ("CARGO_TARGET_DIR", dir)))
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_one_package)) {
        command.env_remove(name);
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run cargo for {}", programs.join(", ")))?;
    match ended_within(&mut child, LONGEST_BUILD)? {
        Some(status) if status.success() => {}
        Some(_) => bail!(
            "cargo could not build {}; its errors are above",
            programs.join(", ")
        ),
        None => bail!(
            "cargo was not done with {} after {}s",
            programs.join(", "),
            LONGEST_BUILD.as_secs()
        ),
    }
    let built = read(stdout)?;
    let executables: Vec<PathBuf> = built.lines().filter_map(executable).collect();
    programs
        .iter()
        .map(|program| find(&executables, program))
        .collect()
}

/// What cargo tells the program it runs about that program's package. Handed on, it would make every build script that
/// watches `CARGO_MANIFEST_DIR` (ring's does) run again, and everything above it compile again, at each change of caller.
fn of_one_package(variable: &str) -> bool {
    variable.starts_with("CARGO_MANIFEST_")
        || variable.starts_with("CARGO_PKG_")
        || variable.starts_with("CARGO_BIN_")
}

fn find(executables: &[PathBuf], program: &str) -> Result<PathBuf> {
    let found = executables
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name == program));
    found
        .cloned()
        .with_context(|| format!("cargo built no program {program}"))
}

/// The root of the checkout this library was built from.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here)
}

/// Where cargo puts what it builds: where this program came from, so that a `--target-dir` is followed too.
pub fn target_dir() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let found = own.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    if found.is_none() {
        say(format!(
            "{} lies in no cargo target folder; cargo decides on one",
            own.display()
        ));
    }
    found.map(Path::to_owned)
}

/// The executable that a line of cargo's JSON output announces.
fn executable(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        executable: Option<PathBuf>,
    }
    serde_json::from_str::<Artifact>(line).ok()?.executable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_with_an_executable_count() {
        let line = r#"{"reason":"compiler-artifact","executable":"/t/debug/relay","fresh":true}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/t/debug/relay")));
        assert_eq!(
            executable(r#"{"reason":"compiler-artifact","executable":null}"#),
            None
        );
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn settings_reach_a_nested_cargo_and_the_caller_s_package_does_not() {
        assert!(of_one_package("CARGO_MANIFEST_DIR") && of_one_package("CARGO_PKG_NAME"));
        assert!(!of_one_package("CARGO_TARGET_DIR") && !of_one_package("CARGO_HOME"));
    }

    #[test]
    fn the_workspace_is_where_its_lock_file_is() {
        assert!(workspace().join("Cargo.lock").is_file());
        assert!(target_dir().is_some());
    }
}
