//! The shared libraries a program needs, as the dynamic loader of this machine finds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::setup::output;

/// Absolute paths of the libraries and of the loader; none for a static program.
pub fn closure(program: &Path) -> Result<Vec<PathBuf>> {
    match output(Command::new("ldd").arg(program), "", Duration::from_secs(30)) {
        Ok(text) => parse(&text),
        Err(error) if format!("{error:#}").contains("not a dynamic executable") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Result<Vec<PathBuf>> {
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        anyhow::bail!("a library is missing: {}", line.trim());
    }
    let paths = text.lines().filter_map(|line| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.split_whitespace()
            .next()
            .filter(|path| path.starts_with('/'))
    });
    Ok(paths.map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found_and_the_kernels_own_is_not() -> Result<()> {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let found = parse(text)?;
        assert_eq!(
            found,
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        assert!(parse("\tlibx.so => not found\n").is_err());
        Ok(())
    }
}
