//! Looks for secrets wherever somebody who may not read Secrets could: Connect's REST API, every object of the cluster that is
//! no Secret (statuses, events, ConfigMaps, Deployments), the pods' logs and the servers' own.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::http;
use crate::kubectl::Kubectl;

/// Shorter values would be found by chance.
const SHORTEST: usize = 6;

/// A value that nobody may read, and what it is called where it turns up. Never printed.
#[derive(Clone)]
pub struct Secret {
    name: String,
    spellings: Vec<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

impl Secret {
    /// `value` as written, in base64 and percent-encoded.
    pub fn new(name: &str, value: &str) -> Result<Self> {
        ensure!(
            value.len() >= SHORTEST,
            "{name} is too short to be looked for: at least {SHORTEST} characters"
        );
        let mut spellings = vec![value.to_owned(), base64(value.as_bytes()), percent_encoded(value)];
        spellings.sort();
        spellings.dedup();
        Ok(Self {
            name: name.to_owned(),
            spellings,
        })
    }

    /// The password inside a connection string, and the string as a whole.
    pub fn of_uri(name: &str, uri: &str) -> Result<Vec<Self>> {
        let authority = uri.split_once("://").map_or("", |(_, rest)| rest);
        let (user_info, _) = authority
            .rsplit_once('@')
            .with_context(|| format!("{name} holds no credential"))?;
        let (_, password) = user_info
            .split_once(':')
            .with_context(|| format!("{name} holds no password"))?;
        Ok(vec![
            Self::new(&format!("{name} (password)"), password)?,
            Self::new(name, uri)?,
        ])
    }
}

/// What was looked through, and what was found where.
#[derive(Debug, Default)]
pub struct Search {
    pub places: usize,
    pub bytes: usize,
    /// `<secret> in <place>`.
    pub found: Vec<String>,
}

impl Search {
    /// Looks through one text.
    pub fn look(&mut self, place: &str, text: &str, secrets: &[Secret]) {
        self.places += 1;
        self.bytes += text.len();
        for secret in secrets {
            if secret.spellings.iter().any(|spelling| text.contains(spelling)) {
                self.found.push(format!("{} in {place}", secret.name));
            }
        }
    }

    /// A sentence when nothing was found, an error that names the places otherwise.
    pub fn verdict(&self) -> Result<String> {
        ensure!(self.found.is_empty(), "readable: {}", self.found.join(", "));
        ensure!(self.places > 0, "nothing was looked through");
        Ok(format!(
            "none in {} places, {} kB",
            self.places,
            self.bytes / 1024
        ))
    }
}

/// Looks through everything. `connect`: URL of the REST API; `logs`: folder with the servers' logs.
pub fn search(kubectl: &Kubectl, connect: &str, logs: &Path, secrets: &[Secret]) -> Result<Search> {
    let mut search = Search::default();
    connect_rest(connect, secrets, &mut search)?;
    cluster_objects(kubectl, secrets, &mut search)?;
    pod_logs(kubectl, secrets, &mut search)?;
    server_logs(logs, secrets, &mut search)?;
    Ok(search)
}

fn connect_rest(url: &str, secrets: &[Secret], search: &mut Search) -> Result<()> {
    let everything = "connectors?expand=info&expand=status";
    let (status, listed) = http::get(&format!("{url}/{everything}"))?;
    ensure!(status == 200, "Connect answered {status}");
    search.look(everything, &listed.to_string(), secrets);
    let names = listed.as_object().into_iter().flatten().map(|(name, _)| name);
    for name in names {
        for part in ["config", "status", "offsets", "topics", "tasks"] {
            let path = format!("connectors/{name}/{part}");
            let (_, body) = http::get(&format!("{url}/{path}"))?;
            search.look(&path, &body.to_string(), secrets);
        }
    }
    Ok(())
}

fn cluster_objects(kubectl: &Kubectl, secrets: &[Secret], search: &mut Search) -> Result<()> {
    for scope in ["true", "false"] {
        let kinds = kubectl.run(&[
            "api-resources",
            "--verbs=list",
            &format!("--namespaced={scope}"),
            "-o",
            "name",
        ])?;
        for kind in kinds
            .lines()
            .filter(|kind| !kind.is_empty() && *kind != "secrets")
        {
            let args = ["get", kind, "-A", "-o", "json", "--show-managed-fields"];
            let output = kubectl.try_run(&args, "")?;
            // Some kinds are listed and cannot be asked for (metrics without their server).
            if output.status.success() {
                search.look(&format!("the cluster's {kind}"), &output.stdout, secrets);
            }
        }
    }
    Ok(())
}

fn pod_logs(kubectl: &Kubectl, secrets: &[Secret], search: &mut Search) -> Result<()> {
    let pods: Value = serde_json::from_str(&kubectl.run(&["get", "pods", "-A", "-o", "json"])?)?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        for previous in ["--previous=false", "--previous=true"] {
            let args = ["logs", "-n", namespace, name, "--all-containers", previous];
            let output = kubectl.try_run(&args, "")?;
            // Most pods have no earlier container.
            if output.status.success() {
                search.look(&format!("the log of {namespace}/{name}"), &output.stdout, secrets);
            }
        }
    }
    Ok(())
}

fn server_logs(folder: &Path, secrets: &[Secret], search: &mut Search) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
    {
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        search.look(&path.display().to_string(), &text, secrets);
    }
    Ok(())
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Base64 without what depends on the neighbours: the padding, and the last character before it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    let whole = bytes.chunks_exact(3);
    for chunk in whole {
        let word = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        for shift in [18, 12, 6, 0] {
            let index = usize::try_from(word >> shift & 63).unwrap_or_default();
            text.push(char::from(ALPHABET[index]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_and_none_is_printed() {
        let secrets = Secret::of_uri("acme", "mongodb://u:p@ss/word22@h:1/?replicaSet=rs0").unwrap();
        for text in [
            "trace: p@ss/word22",
            "p%40ss%2Fword22",
            "data: cEBzcy93b3JkMjI=",
            "mongodb://u:p@ss/word22@h:1/?replicaSet=rs0",
        ] {
            let mut search = Search::default();
            search.look("a place", text, &secrets);
            let error = search.verdict().expect_err(text).to_string();
            assert!(error.contains("acme (password) in a place"), "{error}");
            assert!(!error.contains("word22"), "{error}");
        }
        assert!(!format!("{secrets:?}").contains("word22"));
        let mut clean = Search::default();
        clean.look("a place", "${dir:/s:tenant-acme.acme.uri.1}", &secrets);
        assert!(clean.verdict().is_ok());
        assert!(Secret::new("short", "abc").is_err());
    }
}
