//! Programs built from Go modules: Kubernetes, containerd, helm and the pause program.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Tool, entry, output, program};

pub const KUBERNETES: &str = "1.36.3";
pub const CONTAINERD: &str = "2.3.7";
pub const HELM: &str = "3.22.0";

/// The names by which the one Kubernetes binary is called.
const KUBERNETES_PROGRAMS: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
];

/// A Go module kept in this repository.
struct Module {
    name: &'static str,
    what: String,
    files: &'static [(&'static str, &'static str)],
    ldflags: String,
}

/// The folder with etcd, the control plane, kubelet and kubectl.
pub fn kubernetes() -> Result<PathBuf> {
    let version = format!("component-base/version.gitVersion=v{KUBERNETES}");
    let client = format!("client-go/pkg/version.gitVersion=v{KUBERNETES}");
    let module = Module {
        name: "kube",
        what: format!("building Kubernetes {KUBERNETES} (Go, minutes when cold)"),
        files: &[
            ("go.mod", include_str!("../../go/kube/go.mod")),
            ("go.sum", include_str!("../../go/kube/go.sum")),
            ("main.go", include_str!("../../go/kube/main.go")),
        ],
        // Clients choke on the version string of a build without these.
        ldflags: format!("-s -w -X k8s.io/{version} -X k8s.io/{client}"),
    };
    module.build(&KUBERNETES_PROGRAMS)
}

/// The folder with the pause program.
pub fn pause() -> Result<PathBuf> {
    let module = Module {
        name: "pause",
        what: "building the pause program (Go)".to_owned(),
        files: &[
            ("go.mod", include_str!("../../go/pause/go.mod")),
            ("main.go", include_str!("../../go/pause/main.go")),
        ],
        ldflags: "-s -w".to_owned(),
    };
    module.build(&[])
}

/// The folder with containerd, its shim and ctr.
pub fn containerd() -> Result<PathBuf> {
    let packages = ["containerd", "containerd-shim-runc-v2", "ctr"]
        .map(|program| format!("github.com/containerd/containerd/v2/cmd/{program}@v{CONTAINERD}"));
    install(
        "containerd",
        CONTAINERD,
        &packages,
        "no_btrfs no_devmapper no_zfs",
    )
}

/// The folder with helm.
pub fn helm() -> Result<PathBuf> {
    install("helm", HELM, &[format!("helm.sh/helm/v3/cmd/helm@v{HELM}")], "")
}

impl Module {
    fn build(&self, programs: &[&str]) -> Result<PathBuf> {
        let go = Go::find()?;
        let mut inputs = vec![go.version.as_str(), self.ldflags.as_str()];
        inputs.extend(self.files.iter().map(|(_, text)| *text));
        let dir = entry("go", self.name, &inputs, |dir| {
            let (source, bin) = (dir.join("source"), dir.join("bin"));
            fs::create_dir(&source)?;
            fs::create_dir(&bin)?;
            for (name, text) in self.files {
                fs::write(source.join(name), text)?;
            }
            let binary = bin.join(self.name);
            go.tool(&self.what)
                .args(["build", "-mod=readonly", "-ldflags", &self.ldflags, "-o"])
                .args([binary.as_os_str(), ".".as_ref()])
                .dir(&source)
                .run()?;
            for program in programs {
                symlink(self.name, bin.join(program))?;
            }
            Ok(())
        })?;
        Ok(dir.join("bin"))
    }
}

/// `go install` of packages of one version into a folder of their own.
fn install(name: &str, version: &str, packages: &[String], tags: &str) -> Result<PathBuf> {
    let go = Go::find()?;
    let mut inputs = vec![go.version.as_str(), tags];
    inputs.extend(packages.iter().map(String::as_str));
    let dir = entry("go", name, &inputs, |dir| {
        go.tool(&format!("building {name} {version} (Go)"))
            .args(["install", "-ldflags", "-s -w", "-tags", tags])
            .args(packages)
            .env("GOBIN", dir.join("bin"))
            .dir(dir)
            .run()
    })?;
    Ok(dir.join("bin"))
}

/// The Go tool chain of this machine.
struct Go {
    program: PathBuf,
    version: String,
}

impl Go {
    fn find() -> Result<Self> {
        let program = program("go").context("go is not on the path: install Go 1.26 or newer")?;
        let mut command = Command::new(&program);
        command.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local");
        let version = output(&mut command, "", Duration::from_secs(60))?
            .trim()
            .to_owned();
        if version.is_empty() {
            bail!("{} does not tell its version", program.display());
        }
        Ok(Self { program, version })
    }

    /// Static binaries, no tool chain fetched behind the user's back, no version control asked.
    fn tool(&self, what: &str) -> Tool {
        Tool::new(&self.program, what)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-buildvcs=false")
            .deadline(Duration::from_secs(3600))
    }
}
