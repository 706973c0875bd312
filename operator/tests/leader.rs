//! Two operators as two processes before one real API server: only one writes, also when the first is stopped past its
//! Lease and goes on afterwards.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::proxy::{Proxy, Seen};
use common::{client, create, install_crds, namespace, raise, until};
use kube::Client;
use kube::api::Api;
use serde_json::json;
use tributary_crds::DataPlatform;
use tributary_operator::guard::{ABLATE_ENV, Guard};
use tributary_stage::Parts;

const LEASE: &str = "/leases/";

/// An operator of its own process, ended with the test.
struct Operator {
    process: Child,
    proxy: Proxy,
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Also while it is stopped.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Operator {
    async fn start(client: &Client, dir: &Path, lease: &str, name: &str, ablate: &str) -> Self {
        let proxy = Proxy::start(client.clone()).await;
        let log = std::fs::File::create(dir.join(format!("{lease}-{name}.log"))).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_tributary-operator"))
            .env("KUBECONFIG", proxy.kubeconfig(dir))
            .env("POD_NAME", name)
            .env(ABLATE_ENV, ablate)
            .args(["--listen", "127.0.0.1:0", "--relay-image", "relay:test"])
            .args(["--lease-seconds", "3", "--lease-name", lease])
            .args(["--lease-namespace", "tributary", "--log-format", "text"])
            .stderr(Stdio::from(log))
            .spawn()
            .expect("an operator");
        Self { process, proxy }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// Writes but those of the Lease itself.
    fn writes(&self, mark: usize) -> Vec<Seen> {
        let all = self.proxy.since(mark);
        all.into_iter()
            .filter(|s| s.writes() && !s.path.contains(LEASE))
            .collect()
    }

    fn wrote_about(&self, object: &str) -> bool {
        let about = format!("/{object}?");
        self.writes(0).iter().any(|s| s.path.contains(&about))
    }
}

async fn platform(client: &Client, name: &str) {
    let spec = json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform", "metadata": {"name": name}, "spec": {
        "ownerID": "test",
        // Port 1: nobody answers.
        "kafka": {"bootstrapServers": ["127.0.0.1:1"]},
        "connect": {"url": "http://127.0.0.1:1", "sourceSecrets": {"type": "Mirrored", "mirrored": {
            "secretRef": {"name": "tributary-sources"}, "namespace": "kafka", "mountPath": "/s", "provider": "dir"}}},
        "starrocks": {"hot": {"httpEndpoints": ["http://127.0.0.1:1"], "mysqlEndpoints": ["127.0.0.1:1"],
            "adminCredentialsSecretRef": {"name": "admin"}, "loadCredentialsSecretRef": {"name": "load"}}}}});
    let _: Api<DataPlatform> = create(client, "tributary", spec).await;
}

/// The first operator leads and is stopped; the second takes over; the first goes on with everything that happened
/// meanwhile still to be read from its sockets. It must not write.
async fn stopped_past_its_lease(
    client: &Client,
    dir: &Path,
    lease: &str,
    ablate: &str,
) -> Result<(), String> {
    let object = |n: usize| format!("{lease}-{n}");
    let mut first = Operator::start(client, dir, lease, "first", ablate).await;
    platform(client, &object(0)).await;
    until("the first leads", || async {
        first.wrote_about(&object(0)).then_some(())
    })
    .await;

    let second = Operator::start(client, dir, lease, "second", "").await;
    until("the second waits", || async {
        let asked = second
            .proxy
            .log()
            .iter()
            .filter(|s| s.path.contains(LEASE))
            .count();
        (asked >= 3).then_some(())
    })
    .await;
    if second.proxy.log().iter().any(Seen::writes) {
        return Err("the second wrote while the first led".to_owned());
    }

    first.signal("-STOP");
    for n in 1..5 {
        platform(client, &object(n)).await;
    }
    until("the second leads", || async {
        (1..5).all(|n| second.wrote_about(&object(n))).then_some(())
    })
    .await;

    let mark = first.proxy.mark();
    first.signal("-CONT");
    let ended = until("the first ends or writes", || {
        let ended = first.process.try_wait().expect("a process");
        let wrote = !first.writes(mark).is_empty();
        async move {
            match (ended, wrote) {
                (_, true) => Some(None),
                (Some(status), false) => Some(Some(status)),
                (None, false) => None,
            }
        }
    })
    .await;
    let writes = first.writes(mark);
    match ended {
        Some(status) if writes.is_empty() && !status.success() => Ok(()),
        Some(status) if writes.is_empty() => Err(format!("it ended as if asked to: {status}")),
        _ => Err(format!("it wrote after its Lease was taken: {writes:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_never_both_write() {
    let stage = raise(Parts::ApiServer).await;
    let client = client(&stage).await;
    install_crds(&client).await;
    namespace(&client, "tributary", json!({})).await;
    let dir = stage.info().state_dir.as_path();

    let kept = stopped_past_its_lease(&client, dir, "kept", "").await;
    assert_eq!(kept, Ok(()));
    let ablated = stopped_past_its_lease(&client, dir, "ablated", Guard::LeaderFence.name()).await;
    assert!(ablated.is_err(), "without its guard the rule is broken unnoticed");
    println!("without {}: {}", Guard::LeaderFence.name(), ablated.unwrap_err());
}
