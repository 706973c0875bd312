//! What this machine has and what is missing, answered in seconds.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::parts::{Part, Parts};
use crate::setup::{self, is_root, program};

/// One need of the stage.
#[derive(Debug)]
pub struct Finding {
    pub need: String,
    pub verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Found(String),
    /// Missing, and set-up installs it by itself.
    WillInstall(String),
    /// Missing, and only the reader can change that; says how.
    Missing(String),
}

/// Everything the parts need, in the order in which a reader would fix it.
pub fn check(parts: Parts) -> Vec<Finding> {
    let mut findings = vec![
        tool("namespaces (unshare)", "unshare", "util-linux"),
        namespaces(parts),
    ];
    let go = parts.has(Part::ApiServer)
        && (parts.has(Part::Node) || std::env::var_os("KUBEBUILDER_ASSETS").is_none());
    if go && std::env::var_os("TRIBUTARY_TEST_KUBECONFIG").is_none() {
        findings.push(by_hand(
            "Go 1.26 or newer",
            "go",
            "install Go from its download page and put it on the PATH",
        ));
    }
    if parts.has(Part::Node) && std::env::var_os("TRIBUTARY_TEST_KUBECONFIG").is_none() {
        findings.push(root());
        findings.push(overlay());
        findings.push(tool("runc", "runc", "runc"));
    }
    if parts.has(Part::Connect) {
        findings.push(tool("a C compiler, for librdkafka", "cc", "build-essential"));
        findings.push(tool("make, for librdkafka", "make", "build-essential"));
    }
    if parts.has(Part::Kafka) {
        findings.push(tool("a JDK 17 or newer", "java", "openjdk-17-jdk-headless"));
        findings.push(tool("Maven", "mvn", "maven"));
    }
    findings.push(memory(parts));
    findings
}

/// Fails with everything that is missing, and installs nothing; what set-up can install, it installs here.
pub(crate) fn require(parts: Parts) -> Result<()> {
    let findings = check(parts);
    let missing: Vec<String> = findings
        .iter()
        .filter_map(|finding| match &finding.verdict {
            Verdict::Missing(how) => Some(format!("  {}: {how}", finding.need)),
            Verdict::Found(_) | Verdict::WillInstall(_) => None,
        })
        .collect();
    if !missing.is_empty() {
        bail!("this machine cannot raise the stage yet:\n{}", missing.join("\n"));
    }
    let packages = findings.iter().filter_map(|finding| match &finding.verdict {
        Verdict::WillInstall(package) => Some(package.as_str()),
        Verdict::Found(_) | Verdict::Missing(_) => None,
    });
    setup::debian_packages(&packages.collect::<Vec<_>>())
}

fn tool(need: &str, name: &str, package: &str) -> Finding {
    let verdict = match program(name) {
        Some(path) => Verdict::Found(path.display().to_string()),
        None if is_root() && program("apt-get").is_some() => Verdict::WillInstall(package.to_owned()),
        None => Verdict::Missing(setup::debian_command(&[package.to_owned()])),
    };
    Finding {
        need: need.to_owned(),
        verdict,
    }
}

fn by_hand(need: &str, name: &str, how: &str) -> Finding {
    let verdict = match program(name) {
        Some(path) => Verdict::Found(path.display().to_string()),
        None => Verdict::Missing(how.to_owned()),
    };
    Finding {
        need: need.to_owned(),
        verdict,
    }
}

fn root() -> Finding {
    let verdict = if is_root() {
        Verdict::Found("yes".to_owned())
    } else {
        Verdict::Missing(
            "run as root (sudo -E), or name a cluster marked for tests in TRIBUTARY_TEST_KUBECONFIG"
                .to_owned(),
        )
    };
    Finding {
        need: "root, for the Kubernetes node".to_owned(),
        verdict,
    }
}

/// Whether this machine lets us make the namespaces that end everything with the stage.
fn namespaces(parts: Parts) -> Finding {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--mount", "--fork", "--mount-proc", "true"]);
    let verdict = match setup::output(&mut command, "", Duration::from_secs(20)) {
        Ok(_) => Verdict::Found("yes".to_owned()),
        Err(error) => Verdict::Missing(format!(
            "{}; the kernel said: {error:#}",
            if parts.has(Part::Node) {
                "in a container, start it privileged"
            } else {
                "run as root, or allow user namespaces"
            }
        )),
    };
    Finding {
        need: "PID and mount namespaces".to_owned(),
        verdict,
    }
}

fn overlay() -> Finding {
    let known = std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay"));
    let verdict = if known || Path::new("/sys/module/overlay").exists() {
        Verdict::Found("yes".to_owned())
    } else {
        Verdict::Missing("modprobe overlay".to_owned())
    };
    Finding {
        need: "overlay file system, for containers".to_owned(),
        verdict,
    }
}

fn memory(parts: Parts) -> Finding {
    let needed_mb: u64 = if parts.has(Part::Connect) { 4000 } else { 1500 };
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    let verdict = match kb {
        Some(kb) if kb / 1024 < needed_mb => Verdict::Missing(format!("only {} MB are available", kb / 1024)),
        Some(kb) => Verdict::Found(format!("{} MB available", kb / 1024)),
        None => Verdict::Found("unknown".to_owned()),
    };
    Finding {
        need: format!("{needed_mb} MB of memory"),
        verdict,
    }
}
