//! The two images of the product: the one place that builds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Image, closure};
use crate::binary::{Selection, build, target_dir};
use crate::progress::say;

pub const OPERATOR: &str = "tributary.dev/operator:dev";
pub const RELAY: &str = "tributary.dev/relay:dev";

/// Archives of both images, and the command line tool of the same build.
#[derive(Debug, Clone)]
pub struct ProductImages {
    pub operator: PathBuf,
    pub relay: PathBuf,
    pub kubectl_tributary: PathBuf,
}

/// Builds operator and relay in the profile `image` and writes their archives to `dir`, by default `images` in cargo's
/// target folder.
pub fn product(dir: Option<&Path>) -> Result<ProductImages> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => target_dir()
            .context("say where to write the images")?
            .join("images"),
    };
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    say("building operator and relay (profile image)");
    let programs = ["tributary-operator", "kubectl-tributary", "tributary-relay"];
    let built = build(
        Selection::Image(&["tributary-operator", "tributary-relay"]),
        &programs,
    )?;
    let images = ProductImages {
        operator: dir.join("tributary-operator.tar"),
        relay: dir.join("tributary-relay.tar"),
        kubectl_tributary: built[1].clone(),
    };
    write(OPERATOR, &built[0], &images.operator)?;
    write(RELAY, &built[2], &images.relay)?;
    Ok(images)
}

/// An image that runs one program of this machine, with the libraries it needs.
fn write(reference: &str, program: &Path, archive: &Path) -> Result<()> {
    let name = program
        .file_name()
        .and_then(|name| name.to_str())
        .context("programs have names")?;
    let at = format!("/usr/local/bin/{name}");
    let mut image = Image::new(reference, &at).base().file(&at, program);
    for library in closure(program)? {
        image = image.file(library.to_str().context("library paths are text")?, &library);
    }
    image.write(archive)?;
    say(format!(
        "image {reference}: {} ({} MB)",
        archive.display(),
        fs::metadata(archive)?.len() >> 20
    ));
    Ok(())
}
