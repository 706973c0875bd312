//! Set-up against the real registries; small packages, and nothing at all when the cache is warm.

use std::process::Command;

use anyhow::{Result, ensure};
use tributary_stage::setup;

#[test]
fn python_holds_exactly_what_was_asked_for() -> Result<()> {
    let python = setup::python(&["six==1.17.0"])?;
    let out = Command::new(python)
        .args(["-c", "import six; print(six.__version__)"])
        .output()?;
    ensure!(String::from_utf8_lossy(&out.stdout).trim() == "1.17.0", "{out:?}");
    Ok(())
}

#[test]
fn jars_come_with_what_they_need_at_run_time() -> Result<()> {
    let jars = setup::maven_jars(&["org.slf4j:slf4j-simple:1.7.36"])?;
    let names: Vec<_> = jars.iter().filter_map(|jar| jar.file_name()?.to_str()).collect();
    ensure!(
        names == ["slf4j-api-1.7.36.jar", "slf4j-simple-1.7.36.jar"],
        "{names:?}"
    );
    Ok(())
}

#[test]
fn what_is_installed_needs_no_package_manager() -> Result<()> {
    setup::debian(&[("coreutils", "ls")])
}
