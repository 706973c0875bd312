//! A docker archive: one layer, its configuration and the manifest that joins them. Same files in, same bytes out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// The user that images run as: what distroless images call `nonroot`.
const NONROOT: u64 = 65532;

/// An image to be written.
#[derive(Debug)]
pub struct Image {
    reference: String,
    entrypoint: String,
    entries: BTreeMap<String, Source>,
}

#[derive(Debug)]
enum Source {
    Folder { mode: u32 },
    File(PathBuf),
    Text(String),
}

impl Image {
    /// `reference` such as `tributary.dev/relay:dev`; `entrypoint` is a path inside the image.
    pub fn new(reference: &str, entrypoint: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            entrypoint: entrypoint.to_owned(),
            entries: BTreeMap::new(),
        }
    }

    /// A file of this machine at a path of the image, executable where it is one here. Links are followed.
    #[must_use]
    pub fn file(mut self, at: &str, from: &Path) -> Self {
        self.entries.insert(at.to_owned(), Source::File(from.to_owned()));
        self
    }

    #[must_use]
    pub fn text(mut self, at: &str, text: &str) -> Self {
        self.entries.insert(at.to_owned(), Source::Text(text.to_owned()));
        self
    }

    /// A folder nobody's file implies, such as /tmp.
    #[must_use]
    pub fn folder(mut self, at: &str, mode: u32) -> Self {
        self.entries.insert(at.to_owned(), Source::Folder { mode });
        self
    }

    /// What programs expect around them: a user, a place for temporary files, certificates of the public authorities.
    #[must_use]
    pub fn base(self) -> Self {
        let users = format!(
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/tmp:/sbin/nologin\n"
        );
        let image = self
            .text("/etc/passwd", &users)
            .text("/etc/group", &format!("root:x:0:\nnonroot:x:{NONROOT}:\n"))
            .text("/etc/nsswitch.conf", "hosts: files dns\n")
            .folder("/tmp", 0o1777);
        let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if certificates.is_file() {
            image.file("/etc/ssl/certs/ca-certificates.crt", certificates)
        } else {
            image
        }
    }

    /// Writes the archive to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let unfinished = path.with_extension("unfinished");
        self.write_archive(&unfinished)
            .with_context(|| format!("cannot write the image {}", path.display()))?;
        Ok(fs::rename(&unfinished, path)?)
    }

    fn write_archive(&self, path: &Path) -> Result<()> {
        let layer_path = path.with_extension("layer");
        let diff_id = self.write_layer(&layer_path)?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "User": format!("{NONROOT}:{NONROOT}"),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
            "history": [{"created_by": "tributary-stage images"}],
        }))?;
        let manifest = serde_json::to_vec(&json!([
            {"Config": "config.json", "RepoTags": [self.reference], "Layers": ["layer.tar"]}
        ]))?;
        let mut archive = Builder::new(BufWriter::new(File::create(path)?));
        append(&mut archive, "config.json", &config)?;
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(fs::metadata(&layer_path)?.len());
        archive.append_data(&mut header, "layer.tar", File::open(&layer_path)?)?;
        append(&mut archive, "manifest.json", &manifest)?;
        archive.into_inner()?.flush()?;
        Ok(fs::remove_file(&layer_path)?)
    }

    /// Writes the layer and returns its digest.
    fn write_layer(&self, path: &Path) -> Result<String> {
        let mut layer = Builder::new(Hashing {
            inner: BufWriter::new(File::create(path)?),
            hash: Sha256::new(),
        });
        for folder in self.folders() {
            let mode = match self.entries.get(&folder) {
                Some(Source::Folder { mode }) => *mode,
                _ => 0o755,
            };
            layer.append_data(
                &mut header(EntryType::Directory, mode),
                relative(&folder),
                std::io::empty(),
            )?;
        }
        for (at, source) in &self.entries {
            match source {
                Source::Folder { .. } => {}
                Source::Text(text) => append(&mut layer, relative(at), text.as_bytes())?,
                Source::File(from) => append_file(&mut layer, relative(at), from)?,
            }
        }
        let mut hashing = layer.into_inner()?;
        hashing.flush()?;
        Ok(hashing
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Every folder of the image, parents first.
    fn folders(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for (at, source) in &self.entries {
            let own = matches!(source, Source::Folder { .. }).then(|| at.clone());
            let parents = Path::new(at)
                .ancestors()
                .skip(1)
                .filter_map(Path::to_str)
                .map(str::to_owned);
            all.extend(
                parents
                    .chain(own)
                    .filter(|folder| folder != "/" && !folder.is_empty()),
            );
        }
        all.sort();
        all.dedup();
        all
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn relative(at: &str) -> &str {
    at.trim_start_matches('/')
}

/// Owner root, time zero: nothing that differs from run to run.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn append<W: Write>(archive: &mut Builder<W>, at: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, 0o644);
    header.set_size(bytes.len() as u64);
    Ok(archive.append_data(&mut header, at, bytes)?)
}

fn append_file<W: Write>(archive: &mut Builder<W>, at: &str, from: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let metadata = file.metadata()?;
    let mode = if metadata.permissions().mode() & 0o111 == 0 {
        0o644
    } else {
        0o755
    };
    let mut header = header(EntryType::Regular, mode);
    header.set_size(metadata.len());
    Ok(archive.append_data(&mut header, at, file)?)
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_bytes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let make = |name: &str| -> Result<Vec<u8>> {
            let path = dir.path().join(name);
            Image::new("tributary.dev/test:1", "/bin/sh")
                .base()
                .file("/bin/sh", Path::new("/bin/sh"))
                .write(&path)?;
            Ok(fs::read(path)?)
        };
        assert!(make("one.tar")? == make("two.tar")?);
        assert_eq!(
            fs::read_dir(dir.path())?.count(),
            2,
            "nothing but the archives is left"
        );
        Ok(())
    }

    #[test]
    fn parents_come_before_what_they_hold() {
        let image = Image::new("i", "/a/b/c")
            .text("/a/b/c", "")
            .folder("/tmp", 0o1777);
        assert_eq!(image.folders(), ["/a", "/a/b", "/tmp"]);
    }
}
