//! Packages of the npm registry: data sets that ship inside one.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Tool, debian, entry, sorted};

/// A folder whose `node_modules` holds these `package@version`. Install scripts are not run.
pub fn npm(packages: &[&str]) -> Result<PathBuf> {
    let packages = sorted(packages);
    let name = packages
        .first()
        .and_then(|first| first.trim_start_matches('@').split(['@', '/']).next());
    let name = name.context("no package given")?;
    entry("npm", name, &packages, |dir| {
        debian(&[("npm", "npm")])?;
        Tool::new("npm", format!("fetching {} (npm)", packages.join(" ")))
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .args([dir])
            .args(&packages)
            .run()
    })
}
