//! `doctor`: one line per check, from outside the operator, with what to do about each that fails. Secrets are looked for, never shown.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use tributary_crds::names::LABEL_TENANT;
use tributary_crds::status::{Condition, ConditionStatus, STALLED};
use tributary_crds::{DataPlatform, TenantPipeline, crd};
use tributary_operator::pipeline::uri;

use crate::fetch::{Fetched, within};
use crate::output::{Exit, Failure};
use crate::rights;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Health {
    Ok,
    /// Could not be looked at by whoever asks.
    Unknown,
    Bad,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    pub(crate) health: Health,
    pub(crate) what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) advice: String,
}

impl Check {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Health::Ok, what, found, "")
    }

    fn bad(what: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Health::Bad, what, found, advice)
    }

    fn unknown(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Health::Unknown, what, found, "")
    }

    fn new(
        health: Health,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health,
            what: what.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// Something that could not be asked is no illness.
pub(crate) fn exit(checks: &[Check]) -> Exit {
    match checks.iter().any(|c| c.health == Health::Bad) {
        true => Exit::Trouble,
        false => Exit::Fine,
    }
}

pub(crate) fn text(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let mark = match check.health {
            Health::Ok => "ok      ",
            Health::Unknown => "unknown ",
            Health::Bad => "BAD     ",
        };
        let _ = write!(out, "{mark}{}", check.what);
        for part in [&check.found, &check.advice]
            .into_iter()
            .filter(|p| !p.is_empty())
        {
            let lead = if std::ptr::eq(part, &check.advice) {
                " → "
            } else {
                ": "
            };
            let _ = write!(out, "{lead}{part}");
        }
        out.push('\n');
    }
    let bad = checks.iter().filter(|c| c.health == Health::Bad).count();
    let unknown = checks.iter().filter(|c| c.health == Health::Unknown).count();
    let _ = writeln!(out, "{} checks, {bad} bad, {unknown} unknown", checks.len());
    out
}

/// The installation: kinds, the operator and its rights, every platform that may be seen.
pub(crate) async fn installation(client: &Client) -> Vec<Check> {
    let mut checks = kinds(client).await;
    checks.extend(operator(client).await);
    match within(Api::<DataPlatform>::all(client.clone()).list(&ListParams::default())).await {
        Err(why) => checks.push(Check::unknown("DataPlatforms", why)),
        Ok(list) if list.items.is_empty() => checks.push(Check::bad(
            "DataPlatforms",
            "there is none",
            "describe your servers in one: kubectl explain dataplatform.spec",
        )),
        Ok(list) => list
            .items
            .iter()
            .for_each(|p| checks.extend(platform_conditions(p))),
    }
    checks
}

pub(crate) async fn platform(client: &Client, namespace: &str, name: &str) -> Result<Vec<Check>, Failure> {
    let api: Api<DataPlatform> = Api::namespaced(client.clone(), namespace);
    let found = within(api.get_opt(name)).await?;
    let found = found.ok_or_else(|| format!("there is no DataPlatform {namespace}/{name}"))?;
    let mut checks = operator(client).await;
    let hot = &found.spec.starrocks.hot;
    let credentials = [
        (
            "adminCredentialsSecretRef",
            &hot.admin_credentials_secret_ref.name,
        ),
        ("loadCredentialsSecretRef", &hot.load_credentials_secret_ref.name),
    ];
    for (field, secret) in credentials {
        checks.push(basic_auth(client, namespace, field, secret).await);
    }
    if let Some(mirrored) = &found.spec.connect.source_secrets.mirrored {
        let (there, secret) = (&mirrored.namespace, &mirrored.secret_ref.name);
        let what = format!("Secret {there}/{secret} that Kafka Connect mounts");
        let advice = format!("kubectl create secret generic {secret} -n {there}");
        checks.push(match get_secret(client, there, secret).await {
            Ok(Some(_)) => Check::ok(what, ""),
            Ok(None) => Check::bad(what, "does not exist", advice),
            Err(why) => Check::unknown(what, why),
        });
    }
    checks.extend(platform_conditions(&found));
    Ok(checks)
}

pub(crate) async fn pipeline(client: &Client, namespace: &str, name: &str) -> Result<Vec<Check>, Failure> {
    let fetched = Fetched::of(client, namespace, name).await?;
    let pipeline = &fetched.pipeline;
    let mut checks = operator(client).await;
    let platform = referenced_platform(client, pipeline, &mut checks).await;
    checks.push(tenant(client, pipeline).await);
    checks.push(source_secret(client, pipeline, platform.as_ref()).await);
    for table in &fetched.tables {
        let what = format!("StarRocksTable {}/{}", table.namespace, table.name);
        checks.push(match &table.object {
            Err(why) => Check::unknown(what, why.clone()),
            Ok(object) => {
                let status = object.status.clone().unwrap_or_default();
                match tributary_crds::status::find(&status.conditions, "Ready") {
                    Some(ready) => condition(&what, ready),
                    None => Check::bad(what, "has no Ready condition yet", "is the operator running?"),
                }
            }
        });
    }
    checks.push(pods(&fetched));
    let status = pipeline.status.clone().unwrap_or_default();
    checks.push(seen(status.observed_generation, pipeline.metadata.generation));
    let title = format!("TenantPipeline {namespace}/{name}");
    checks.extend(
        status
            .conditions
            .iter()
            .filter(|c| c.kind != "Reconciling")
            .map(|c| condition(&title, c)),
    );
    Ok(checks)
}

/// A condition says itself what it means and what to do.
fn condition(of: &str, condition: &Condition) -> Check {
    let what = format!("{of} {}", condition.kind);
    let found = match condition.message.is_empty() {
        true => condition.reason.clone(),
        false => format!("{}: {}", condition.reason, condition.message),
    };
    match condition.status {
        // True means trouble for this one alone.
        ConditionStatus::True if condition.kind == STALLED => Check::bad(what, found, ""),
        ConditionStatus::True => Check::ok(what, condition.reason.clone()),
        // A snapshot takes its time: nothing is wrong.
        ConditionStatus::False if ["Running", "InitialSnapshot"].contains(&condition.reason.as_str()) => {
            Check::ok(what, found)
        }
        ConditionStatus::False => Check::bad(what, found, ""),
        ConditionStatus::Unknown => Check::new(Health::Unknown, what, found, ""),
    }
}

fn seen(observed: i64, generation: Option<i64>) -> Check {
    let what = "operator has seen the newest spec";
    let generation = generation.unwrap_or_default();
    match observed == generation {
        true => Check::ok(what, format!("generation {generation}")),
        false => Check::bad(
            what,
            format!("it has seen generation {observed} of {generation}"),
            "look at the operator's log",
        ),
    }
}

async fn kinds(client: &Client) -> Vec<Check> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut checks = Vec::new();
    for wanted in crd::all() {
        let name = format!("{}.{}", wanted.spec.names.plural, wanted.spec.group);
        let what = format!("CRD {name}");
        checks.push(match within(api.get_opt(&name)).await {
            Err(why) => Check::unknown(what, why),
            Ok(None) => Check::bad(
                what,
                "is not installed",
                "helm install the chart, or crds.install=true",
            ),
            Ok(Some(found)) if crd::schema(&found) == crd::schema(&wanted) => {
                Check::ok(what, "installed, same schema as this program")
            }
            Ok(Some(_)) => Check::new(
                Health::Unknown,
                what,
                "installed with another schema than this program knows",
                "use the kubectl-tributary of the installed version, or upgrade the chart",
            ),
        });
    }
    checks
}

/// The operator's Deployment and, for its account, every right it needs.
async fn operator(client: &Client) -> Vec<Check> {
    let labels = "app.kubernetes.io/name=tributary,app.kubernetes.io/component=operator";
    let params = ListParams::default().labels(labels);
    let deployments = match within(Api::<Deployment>::all(client.clone()).list(&params)).await {
        Ok(list) => list.items,
        Err(why) => return vec![Check::unknown("operator", why)],
    };
    if deployments.is_empty() {
        let advice = "helm install tributary charts/tributary --namespace tributary --create-namespace";
        return vec![Check::bad("operator", "no Deployment carries its labels", advice)];
    }
    let mut checks = Vec::new();
    for deployment in &deployments {
        let namespace = deployment.namespace().unwrap_or_default();
        let what = format!("operator {namespace}/{}", deployment.name_any());
        let available = deployment
            .status
            .as_ref()
            .and_then(|s| s.available_replicas)
            .unwrap_or(0);
        checks.push(match available {
            0 => Check::bad(
                what,
                "no replica is available",
                format!("kubectl describe pods -n {namespace} -l {labels}"),
            ),
            n => Check::ok(what, format!("{n} available")),
        });
        let pod = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        if let Some(account) = pod.and_then(|p| p.service_account_name.as_ref()) {
            checks.push(operator_rights(client, &namespace, account).await);
        }
    }
    checks
}

/// One line for all of them: a chart that is whole grants every one.
async fn operator_rights(client: &Client, namespace: &str, account: &str) -> Check {
    let what = format!("rights of ServiceAccount {namespace}/{account}");
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let (mut asked, mut missing) = (0, Vec::new());
    for right in rights::needed(namespace) {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{account}")),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(right.group.to_owned()),
                    resource: Some(right.resource.clone()),
                    subresource: right.subresource.clone(),
                    verb: Some(right.verb.clone()),
                    namespace: right.namespace.clone(),
                    name: right.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        asked += 1;
        match within(api.create(&PostParams::default(), &review)).await {
            Err(why) => return Check::unknown(what, why),
            Ok(answer) if answer.status.as_ref().is_some_and(|s| s.allowed) => {}
            Ok(_) => missing.push(right.to_string()),
        }
    }
    match missing.is_empty() {
        true => Check::ok(what, format!("all {asked} granted")),
        false => Check::bad(
            what,
            format!("missing: {}", missing.join("; ")),
            "helm upgrade with rbac.create=true, or grant them",
        ),
    }
}

fn platform_conditions(platform: &DataPlatform) -> Vec<Check> {
    let title = format!(
        "DataPlatform {}/{}",
        platform.namespace().unwrap_or_default(),
        platform.name_any()
    );
    let status = platform.status.clone().unwrap_or_default();
    if status.conditions.is_empty() {
        return vec![Check::bad(
            title,
            "the operator has not looked at it",
            "is the operator running?",
        )];
    }
    status.conditions.iter().map(|c| condition(&title, c)).collect()
}

async fn referenced_platform(
    client: &Client,
    pipeline: &TenantPipeline,
    checks: &mut Vec<Check>,
) -> Option<DataPlatform> {
    let own = pipeline.namespace().unwrap_or_default();
    let Some(reference) = &pipeline.spec.platform_ref else {
        checks.push(Check::bad("platformRef", "is not set", "name a DataPlatform"));
        return None;
    };
    let namespace = reference.namespace_or(&own);
    let api: Api<DataPlatform> = Api::namespaced(client.clone(), namespace);
    match within(api.get_opt(&reference.name)).await {
        Err(why) => checks.push(Check::unknown(
            format!("DataPlatform {namespace}/{}", reference.name),
            why,
        )),
        Ok(None) => checks.push(Check::bad(
            format!("DataPlatform {namespace}/{}", reference.name),
            "does not exist",
            "correct spec.platformRef (immutable: in a new pipeline), or create the platform",
        )),
        Ok(Some(platform)) => {
            checks.extend(platform_conditions(&platform));
            return Some(platform);
        }
    }
    None
}

async fn tenant(client: &Client, pipeline: &TenantPipeline) -> Check {
    let own = pipeline.namespace().unwrap_or_default();
    let what = format!("labels of Namespace {own}");
    match within(Api::<Namespace>::all(client.clone()).get_metadata_opt(&own)).await {
        Err(why) => Check::unknown(what, why),
        Ok(None) => Check::bad(what, "does not exist", ""),
        Ok(Some(namespace)) => {
            let tenant = namespace.labels().get(LABEL_TENANT).cloned();
            Check::ok(
                what,
                format!(
                    "{LABEL_TENANT}={}",
                    tenant.unwrap_or_else(|| "(absent)".to_owned())
                ),
            )
        }
    }
}

/// Whether the Secret, its key and its hosts are as they must be.
async fn source_secret(client: &Client, pipeline: &TenantPipeline, platform: Option<&DataPlatform>) -> Check {
    let own = pipeline.namespace().unwrap_or_default();
    let mongodb = pipeline.spec.source.mongodb.as_ref();
    let Some(reference) = mongodb.and_then(|m| m.connection_secret_ref.as_ref()) else {
        return Check::bad(
            "connectionSecretRef",
            "is not set",
            "name the Secret with the connection string",
        );
    };
    let what = format!("Secret {own}/{}, key {}", reference.name, reference.key);
    let secret = match get_secret(client, &own, &reference.name).await {
        Err(why) => return Check::unknown(what, why),
        Ok(None) => return Check::bad(what, "does not exist", "create it, in this namespace"),
        Ok(Some(secret)) => secret,
    };
    let Some(value) = secret.data.and_then(|mut d| d.remove(&reference.key)) else {
        return Check::bad(
            what,
            "the Secret has no such key",
            "add it, or correct connectionSecretRef.key",
        );
    };
    let permitted = platform
        .and_then(|p| p.spec.limits.as_ref())
        .map_or(&[][..], |l| &l.source_hosts);
    let text = String::from_utf8_lossy(&value.0);
    match uri::hosts(text.trim()).and_then(|hosts| uri::permitted(&hosts, permitted)) {
        Ok(()) => Check::ok(what, "a connection string that the platform permits"),
        Err(error) => Check::bad(what, error.to_string(), "correct the connection string"),
    }
}

fn pods(fetched: &Fetched) -> Check {
    let what = "relay's Deployment";
    let relay = match &fetched.relay {
        Err(why) => return Check::unknown(what, why.clone()),
        Ok(relay) => relay,
    };
    let unavailable = |d: &&Deployment| d.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0) < 1;
    match (
        relay.deployments.first(),
        relay.deployments.iter().find(unavailable),
    ) {
        (None, _) => Check::bad(
            what,
            "there is none",
            "it follows topics and tables: see the conditions below",
        ),
        (_, Some(d)) => {
            let namespace = d.namespace().unwrap_or_default();
            let advice = format!(
                "kubectl describe pods -n {namespace} -l tributary.dev/pipeline={}",
                fetched.pipeline.name_any()
            );
            Check::bad(what, format!("{} is not available", d.name_any()), advice)
        }
        (Some(d), None) => Check::ok(what, format!("{} is available", d.name_any())),
    }
}

async fn basic_auth(client: &Client, namespace: &str, field: &str, name: &str) -> Check {
    let what = format!("{field}: Secret {namespace}/{name}");
    match get_secret(client, namespace, name).await {
        Err(why) => Check::unknown(what, why),
        Ok(None) => Check::bad(
            what,
            "does not exist",
            "create it with type kubernetes.io/basic-auth",
        ),
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default();
            match ["username", "password"].iter().find(|k| !data.contains_key(**k)) {
                Some(key) => Check::bad(what, format!("has no key {key}"), "give it username and password"),
                None => Check::ok(what, "has username and password"),
            }
        }
    }
}

async fn get_secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, String> {
    within(Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name)).await
}
