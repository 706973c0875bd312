//! Takes the Lease, keeps it, gives it back.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fence::Fence;
use super::lease::{Sighting, Step, held};
use crate::guard::Guard;
use crate::kubernetes::FIELD_MANAGER;
use crate::telemetry::Metrics;

/// Which Lease, as whom, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    pub namespace: String,
    pub name: String,
    /// Different for every process that may be alive at the same time; the pod's name is.
    pub identity: String,
    pub duration: Duration,
}

impl Settings {
    /// The holder writes for this long after it asked for the renewal that was granted; the rest of the duration is margin.
    fn writes_for(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn retry(&self) -> Duration {
        self.duration / 6
    }
}

/// One process's part in the election.
pub struct Election {
    api: Api<Lease>,
    settings: Settings,
    fence: Fence,
    metrics: Metrics,
    seen: Sighting,
}

/// What became of one round.
enum Round {
    Held,
    /// By somebody else.
    NotHeld,
    /// The API server did not answer, or somebody wrote in between.
    Unknown,
}

impl Election {
    pub fn new(client: Client, settings: Settings, fence: Fence, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            settings,
            fence,
            metrics,
            seen: Sighting::nothing(Instant::now()),
        }
    }

    /// Waits until this process holds the Lease; `false` when `shutdown` came first. `waiting` is told when somebody else
    /// holds it.
    pub async fn win(&mut self, shutdown: &CancellationToken, waiting: impl Fn()) -> bool {
        let mut told: Option<String> = None;
        loop {
            let round = self.round().await;
            if let Round::NotHeld = round {
                waiting();
            }
            if let Round::Held = round {
                tracing::info!(
                    lease = self.settings.name,
                    identity = self.settings.identity,
                    "this operator leads"
                );
                self.metrics.leads(true);
                return true;
            }
            let holder = self.seen.holder().map(str::to_owned);
            if holder.is_some() && holder != told {
                tracing::info!(
                    holder,
                    "another operator leads; this one waits for its Lease to run out"
                );
                told = holder;
            }
            tokio::select! {
                () = tokio::time::sleep(crate::error::jittered(self.settings.retry())) => {}
                () = shutdown.cancelled() => return false,
            }
        }
    }

    /// Keeps the Lease; ends when it was lost, or cannot be proven to be held any longer.
    pub async fn keep(&mut self) {
        loop {
            tokio::time::sleep(self.settings.retry()).await;
            let lost = match self.round().await {
                Round::Held => false,
                Round::NotHeld => true,
                // The fence closes by itself; then it is time to say so.
                Round::Unknown => self.fence.check().is_err(),
            };
            if lost && Guard::LeaderFence.holds() {
                self.fence.close();
                self.metrics.leads(false);
                return;
            }
        }
    }

    /// Gives the Lease back, so that a successor need not wait for it to run out. Nothing may be written afterwards.
    pub async fn release(&mut self) {
        self.fence.close();
        self.metrics.leads(false);
        let Some(Some(lease)) = self.get().await else {
            return;
        };
        self.seen.note(Some(&lease), Instant::now());
        if self.seen.holder() == Some(&self.settings.identity) {
            let mut spec = lease.spec.clone().unwrap_or_default();
            spec.holder_identity = Some(String::new());
            self.patch(&lease, &spec).await;
        }
    }

    async fn round(&mut self) -> Round {
        let asked = (Instant::now(), SystemTime::now());
        let Some(lease) = self.get().await else {
            return Round::Unknown;
        };
        self.seen.note(lease.as_ref(), Instant::now());
        let settings = &self.settings;
        match self
            .seen
            .step(&settings.identity, settings.duration, Instant::now())
        {
            Step::Wait => return Round::NotHeld,
            Step::Renew | Step::Take => {}
        }
        let before = lease.as_ref().and_then(|l| l.spec.as_ref());
        let spec = held(before, &settings.identity, settings.duration, Timestamp::now());
        let written = match &lease {
            Some(lease) => self.patch(lease, &spec).await,
            None => self.create(&spec).await,
        };
        let Some(written) = written else {
            return Round::Unknown;
        };
        self.seen.note(Some(&written), Instant::now());
        self.fence.extend(asked, settings.writes_for());
        Round::Held
    }

    /// `None`: no answer; `Some(None)`: there is no Lease.
    async fn get(&self) -> Option<Option<Lease>> {
        self.within("read", self.api.get_opt(&self.settings.name)).await
    }

    async fn create(&self, spec: &LeaseSpec) -> Option<Lease> {
        let lease = Lease {
            metadata: kube::core::ObjectMeta {
                name: Some(self.settings.name.clone()),
                ..Default::default()
            },
            spec: Some(spec.clone()),
        };
        // Of two candidates that create it at the same time, one gets a conflict.
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        self.within("create", self.api.create(&params, &lease)).await
    }

    /// The resourceVersion makes it a compare-and-swap: whoever wrote in between wins.
    async fn patch(&self, lease: &Lease, spec: &LeaseSpec) -> Option<Lease> {
        let body = json!({
            "metadata": {"resourceVersion": lease.resource_version()},
            "spec": spec,
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        self.within(
            "write",
            self.api.patch(&self.settings.name, &params, &Patch::Merge(&body)),
        )
        .await
    }

    /// One call may take half of what is left between renewals and the end of the permission to write.
    async fn within<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Option<T> {
        let limit = self.settings.duration / 4;
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.settings.name, "cannot {what} the Lease");
                None
            }
            Err(_) => {
                tracing::warn!(lease = self.settings.name, "no answer in time: {what} the Lease");
                None
            }
        }
    }
}
