//! The cluster as a user sees it: through kubectl, with nobody's configuration but the stage's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use tributary_stage::StageInfo;

use crate::process::{Output, run};
use crate::wait::{Look, until};

const CALL: Duration = Duration::from_secs(60);

/// One object: `tp/acme` in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
}

impl Object {
    pub fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn slashed(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// One condition of an object's status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub observed_generation: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Kubectl {
    bin: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(info: &StageInfo) -> Result<Self> {
        let kubernetes = info.kubernetes.as_ref().context("this stage has no Kubernetes")?;
        Ok(Self {
            bin: info.bin.clone(),
            kubeconfig: kubernetes.kubeconfig.clone(),
        })
    }

    /// Runs kubectl and returns how it ended.
    pub fn try_run(&self, args: &[&str], stdin: &str) -> Result<Output> {
        run(self.program("kubectl").args(args), stdin, CALL)
    }

    /// Runs kubectl, which must succeed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.try_run(args, "")?.ok(&format!("kubectl {}", args.join(" ")))
    }

    /// Runs helm, which must succeed.
    pub fn helm(&self, args: &[&str], deadline: Duration) -> Result<String> {
        run(self.program("helm").args(args), "", deadline)?.ok(&format!("helm {}", args.join(" ")))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command
            .env_remove("KUBECONFIG")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig);
        command
    }

    /// `kubectl apply -f <file>`, byte for byte.
    pub fn apply_file(&self, file: &Path) -> Result<String> {
        self.run(&["apply", "-f", &file.display().to_string()])
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.try_run(&["apply", "-f", "-"], manifest)?
            .ok("kubectl apply -f -")
    }

    /// Applies what must be refused, and returns the refusal.
    pub fn refusal(&self, manifest: &str) -> Result<String> {
        let output = self.try_run(&["apply", "-f", "-"], manifest)?;
        if output.status.success() {
            bail!("kubectl apply took what it should refuse: {}", output.stdout);
        }
        Ok(output.stderr)
    }

    /// The object, or `None` when there is none.
    pub fn get(&self, object: &Object) -> Result<Option<Value>> {
        let text = self.run(&[
            "get",
            &object.slashed(),
            "-n",
            &object.namespace,
            "-o",
            "json",
            "--ignore-not-found",
        ])?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// Every object of a kind that carries these labels, in all namespaces.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let text = self.run(&["get", kind, "-A", "-l", selector, "-o", "json"])?;
        let mut list: Value = serde_json::from_str(&text)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("kubectl get {kind} printed no list"),
        }
    }

    pub fn conditions(&self, object: &Object) -> Result<Vec<Condition>> {
        let found = self
            .get(object)?
            .ok_or_else(|| anyhow!("there is no {} in {}", object.slashed(), object.namespace))?;
        Ok(serde_json::from_value(found["status"]["conditions"].clone()).unwrap_or_default())
    }

    /// Waits until a condition has this status and one of these reasons (any, when none is given).
    pub fn await_condition(
        &self,
        object: &Object,
        kind: &str,
        status: &str,
        reasons: &[&str],
        deadline: Duration,
    ) -> Result<Condition> {
        let what = format!("{} {kind}={status} {}", object.slashed(), reasons.join("|"));
        until(&what, deadline, || {
            let conditions = self.conditions(object)?;
            let found = conditions.iter().find(|condition| condition.kind == kind);
            Ok(match found {
                Some(c)
                    if c.status == status && (reasons.is_empty() || reasons.contains(&c.reason.as_str())) =>
                {
                    Look::There(c.clone())
                }
                _ => Look::NotYet(shown(&conditions)),
            })
        })
    }

    /// Waits until the object is gone.
    pub fn await_gone(&self, object: &Object, deadline: Duration) -> Result<()> {
        until(&format!("{} gone", object.slashed()), deadline, || {
            Ok(match self.get(object)? {
                None => Look::There(()),
                Some(still) => Look::NotYet(format!(
                    "finalizers {}, conditions {}",
                    still["metadata"]["finalizers"], still["status"]["conditions"]
                )),
            })
        })
    }

    /// Scales a Deployment (`namespace/name`) and waits until that many pods are ready.
    pub fn scale(&self, deployment: &str, replicas: u32, deadline: Duration) -> Result<()> {
        let (namespace, name) = deployment
            .split_once('/')
            .context("a deployment is namespace/name")?;
        let target = format!("deployment/{name}");
        self.run(&[
            "scale",
            "-n",
            namespace,
            &target,
            &format!("--replicas={replicas}"),
        ])?;
        let object = Object::new("deployment", namespace, name);
        until(&format!("{deployment} at {replicas}"), deadline, || {
            let found = self.get(&object)?.context("the deployment is gone")?;
            let ready = found["status"]["readyReplicas"].as_u64().unwrap_or(0);
            let present = found["status"]["replicas"].as_u64().unwrap_or(0);
            let wanted = u64::from(replicas);
            Ok(if ready == wanted && present == wanted {
                Look::There(())
            } else {
                Look::NotYet(format!("{ready} of {present} ready"))
            })
        })
    }
}

fn shown(conditions: &[Condition]) -> String {
    let each = conditions
        .iter()
        .map(|c| format!("{}={}/{} {}", c.kind, c.status, c.reason, c.message));
    each.collect::<Vec<_>>().join("; ")
}
