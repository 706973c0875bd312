//! One API server for all tests of this binary, with the CRDs installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tributary_stage::{Options, Parts, Stage};

/// It ends with the process that holds it.
static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

pub(crate) struct Server {
    kubeconfig: PathBuf,
    bin: PathBuf,
}

/// What a program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn server() -> Server {
    let mut held = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = held.get_or_insert_with(|| {
        let stage = Stage::up(Parts::ApiServer, Options::default()).expect("an API server");
        let server = Server::of(&stage);
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
        server.must(&["apply", "--server-side", "-f", crds.to_str().unwrap()], None);
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ];
        server.must(&established, None);
        stage
    });
    Server::of(stage)
}

impl Server {
    fn of(stage: &Stage) -> Self {
        let info = stage.info();
        Self {
            kubeconfig: info.kubernetes.as_ref().expect("Kubernetes").kubeconfig.clone(),
            bin: info.bin.clone(),
        }
    }

    pub(crate) fn kubectl(&self, args: &[&str], input: Option<&Value>) -> Answer {
        let mut command = Command::new(self.bin.join("kubectl"));
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--request-timeout=30s");
        run(command.args(args), input)
    }

    pub(crate) fn helm(&self, args: &[&str]) -> Answer {
        let helm = tributary_stage::setup::helm().expect("helm").join("helm");
        let mut command = Command::new(helm);
        run(command.args(args).arg("--kubeconfig").arg(&self.kubeconfig), None)
    }

    /// The standard output of a kubectl that must succeed.
    pub(crate) fn must(&self, args: &[&str], input: Option<&Value>) -> String {
        let answer = self.kubectl(args, input);
        assert!(answer.ok, "kubectl {}: {}", args.join(" "), answer.stderr);
        answer.stdout
    }

    pub(crate) fn namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.must(&["apply", "-f", "-"], Some(&namespace));
    }
}

fn run(command: &mut Command, input: Option<&Value>) -> Answer {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program of the stage");
    let mut stdin = child.stdin.take().expect("its stdin");
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).expect("it reads");
    }
    drop(stdin);
    let out = child.wait_with_output().expect("it ends");
    Answer {
        ok: out.status.success(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

pub(crate) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
