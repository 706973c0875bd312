//! The command line of the operator; every option has an environment variable, which is what the chart sets.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::leader::Settings;

/// Runs CDC analytics pipelines as custom resources.
#[derive(Clone, Debug, Parser)]
#[command(name = "tributary-operator", version)]
pub struct Args {
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "TRIBUTARY_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Image of the relay that pipelines run; a DataPlatform may override it through podOverrides.
    #[arg(long, env = "TRIBUTARY_RELAY_IMAGE")]
    pub relay_image: String,

    /// Namespaces whose Deployments are watched: those that hold a DataPlatform. Elsewhere a change of a relay is seen at
    /// the next poll instead of at once.
    #[arg(long, env = "TRIBUTARY_PLATFORM_NAMESPACES", value_delimiter = ',')]
    pub platform_namespaces: Vec<String>,

    /// Watch Secrets labelled tributary.dev/watch=true, so that a rotated credential is used at once instead of at the next
    /// look (15 s). Needs list and watch of Secrets, which Kubernetes cannot restrict to a label: off unless asked for.
    #[arg(long, env = "TRIBUTARY_WATCH_SECRETS", default_value_t = false, action = clap::ArgAction::Set)]
    pub watch_secrets: bool,

    /// Reconciles of one kind that may run at the same time.
    #[arg(long, env = "TRIBUTARY_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// How often an object that never changes is looked at again, in seconds (±10 %).
    #[arg(long, env = "TRIBUTARY_RESYNC_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync_seconds: u64,

    /// How long deletions in a namespace that goes wait for a system that does not answer, in seconds; then what is left there is
    /// recorded, and the namespace goes.
    #[arg(long, env = "TRIBUTARY_NAMESPACE_YIELD_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub namespace_yield_seconds: u64,

    /// Name of the Lease that says which of several operators writes.
    #[arg(long, env = "TRIBUTARY_LEASE_NAME", default_value = "tributary-operator")]
    pub lease_name: String,

    /// Namespace of that Lease; default: this pod's, or the kubeconfig's.
    #[arg(long, env = "TRIBUTARY_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How long a silent holder keeps the Lease, in seconds: how long a crash goes unnoticed. It writes for two thirds of that
    /// after its last renewal.
    #[arg(long, env = "TRIBUTARY_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub lease_seconds: u64,

    /// This process in the Lease: different for every one that may be alive at the same time. Default: a random one.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    #[arg(long, env = "TRIBUTARY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl Args {
    /// The election this process takes part in; `namespace` is where the client works by default.
    pub fn election(&self, namespace: &str) -> Settings {
        let named = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        Settings {
            namespace: named(&self.lease_namespace).unwrap_or_else(|| namespace.to_owned()),
            name: self.lease_name.clone(),
            identity: named(&self.identity)
                .unwrap_or_else(|| format!("tributary-operator-{:016x}", fastrand::u64(..))),
            duration: Duration::from_secs(self.lease_seconds),
        }
    }

    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }
}
