//! The oracle judges everything else, so it is judged first: by its own tests, in its own language.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tributary_e2e::process::run;
use tributary_e2e::programs::interpreter;

#[test]
fn the_oracle_knows_the_mapping_and_sees_every_kind_of_wrong_row() -> Result<()> {
    let mut command = Command::new(interpreter()?);
    command
        .args(["-m", "unittest", "test_oracle"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command, "", Duration::from_secs(60))?.ok("python -m unittest test_oracle")?;
    Ok(())
}
