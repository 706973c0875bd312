//! Asks the probes' questions, all at the same time.

use futures::future::join_all;
use tributary_crds::DataPlatform;

use super::plan::{Plan, Probe};
use crate::backend::BackendError;
use crate::backend::connect::connector::CONNECTOR_CLASS;
use crate::backends::Credentials;
use crate::context::Context;
use crate::error::Error;
use crate::kubernetes::FIELD_MANAGER;

/// What was answered: a sentence, or what went wrong.
#[derive(Debug)]
pub enum Answer {
    Kafka(Result<String, BackendError>),
    Connect(Result<String, BackendError>),
    SourceSecrets(Result<String, Error>),
    Hot(Result<String, BackendError>),
}

pub async fn apply(plan: &Plan, platform: &DataPlatform, context: &Context) -> Vec<Answer> {
    join_all(plan.probes.iter().map(|probe| ask(probe, platform, context))).await
}

async fn ask(probe: &Probe, platform: &DataPlatform, context: &Context) -> Answer {
    match probe {
        Probe::Kafka => Answer::Kafka(kafka(platform, context).await),
        Probe::Connect => Answer::Connect(connect(platform, context).await),
        Probe::SourceSecrets { namespace, name } => {
            let written = context
                .kubernetes
                .dry_run_secret(namespace, name, FIELD_MANAGER)
                .await;
            Answer::SourceSecrets(
                written.map(|()| format!("Secret {namespace}/{name} takes the sources' credentials.")),
            )
        }
        Probe::Hot(admin) => Answer::Hot(hot(platform, admin, context).await),
    }
}

async fn kafka(platform: &DataPlatform, context: &Context) -> Result<String, BackendError> {
    let cluster = context.backends.kafka(platform)?.probe().await?;
    Ok(format!("Kafka answers; {} broker(s).", cluster.brokers))
}

async fn connect(platform: &DataPlatform, context: &Context) -> Result<String, BackendError> {
    let client = context.backends.connect(platform)?;
    let worker = client.health().await?;
    let plugin = client.plugin_version(CONNECTOR_CLASS).await?;
    Ok(format!(
        "Kafka Connect {} with Debezium's MongoDB connector {plugin}.",
        worker.version
    ))
}

async fn hot(
    platform: &DataPlatform,
    admin: &Credentials,
    context: &Context,
) -> Result<String, BackendError> {
    let server = context.backends.starrocks(platform, admin)?.probe().await?;
    context
        .backends
        .probe_http(&platform.spec.starrocks.hot.http_endpoints)
        .await?;
    let backends = match server.backends {
        Some(nodes) => format!("; {} of {} backends alive", nodes.alive, nodes.total),
        None => String::new(),
    };
    Ok(format!(
        "StarRocks {} answers on SQL and HTTP{backends}.",
        server.version
    ))
}
