//! The controllers before a real API server and a real Kafka, with Connect and StarRocks away: what is refused, what is waited
//! for, how little is written, and that deletion neither hangs nor runs ahead. Everything the operator asks of the API server is counted.

#[path = "reconcile/claims.rs"]
mod claims;
mod common;
#[path = "reconcile/deletion.rs"]
mod deletion;
#[path = "reconcile/letters.rs"]
mod letters;

use std::sync::atomic::{AtomicU32, Ordering};

use common::proxy::{Proxy, Seen};
use common::{client, create, install_crds, namespace, raise, until, word};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};
use tributary_operator::args::{Args, LogFormat};
use tributary_operator::backend::kafka::{KafkaAdmin, KafkaOptions};
use tributary_operator::controllers;
use tributary_operator::ledger::{Entry, Ledgers, PipelineRecord};
use tributary_stage::{Parts, Stage};

const CHILD: &str = "acme.orders.orders";
const TOPIC: &str = "acme.shop_acme.orders";

fn platform(bootstrap: &str) -> serde_json::Value {
    json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform", "metadata": {"name": "main"}, "spec": {
        "ownerID": "test",
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"tributary.dev/platform": "main"}}},
        "kafka": {"bootstrapServers": [bootstrap]},
        // Port 1: nobody answers.
        "connect": {"url": "http://127.0.0.1:1", "sourceSecrets": {"type": "Mirrored", "mirrored": {
            "secretRef": {"name": "tributary-sources"}, "namespace": "kafka", "mountPath": "/s", "provider": "dir"}}},
        "starrocks": {"hot": {"httpEndpoints": ["http://127.0.0.1:1"], "mysqlEndpoints": ["127.0.0.1:1"],
            "adminCredentialsSecretRef": {"name": "admin"}, "loadCredentialsSecretRef": {"name": "load"}}},
        "defaults": {"topics": {"partitions": 2, "replicationFactor": 1}}}})
}

fn pipeline() -> serde_json::Value {
    json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline", "metadata": {"name": "acme"}, "spec": {
        "platformRef": {"name": "main", "namespace": "tributary"}, "tenant": "acme",
        "source": {"mongodb": {"connectionSecretRef": {"name": "acme-mongodb", "key": "uri"}, "database": "shop_acme"}},
        "datasets": [{"name": "orders", "hot": {"tables": [{"name": "orders", "template": {
            "primaryKey": ["order_id"],
            "columns": [{"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"}]}}]}}]}})
}

fn args() -> Args {
    Args {
        listen: ([127, 0, 0, 1], 0).into(),
        relay_image: "relay:test".to_owned(),
        watch_secrets: false,
        platform_namespaces: vec!["tributary".to_owned()],
        concurrency: 4,
        resync_seconds: 2,
        namespace_yield_seconds: 3,
        lease_name: "tributary-operator".to_owned(),
        lease_namespace: Some("tributary".to_owned()),
        lease_seconds: 15,
        identity: None,
        log_format: LogFormat::Text,
    }
}

/// The operator, running in this process behind a door that counts.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Box<dyn std::error::Error + Send + Sync>>>,
}

impl Running {
    fn start(proxy: &Proxy) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(controllers::run_with(args(), proxy.client(), shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

struct World {
    client: Client,
    proxy: Proxy,
    kafka: KafkaAdmin,
    platforms: Api<DataPlatform>,
    pipelines: Api<TenantPipeline>,
    tables: Api<StarRocksTable>,
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_look_to_the_last() {
    let (api_server, broker) = tokio::join!(raise(Parts::ApiServer), raise(Parts::Kafka));
    let client = client(&api_server).await;
    install_crds(&client).await;
    namespace(&client, "tributary", json!({})).await;
    namespace(&client, "kafka", json!({})).await;
    let labels = json!({"tributary.dev/platform": "main", "tributary.dev/tenant": "acme"});
    namespace(&client, "tenant-acme", labels).await;
    let bootstrap = broker.info().kafka.as_ref().expect("Kafka").bootstrap.clone();
    let kafka = KafkaAdmin::new(&KafkaOptions {
        bootstrap_servers: vec![bootstrap.clone()],
        ..KafkaOptions::default()
    });
    let world = World {
        proxy: Proxy::start(client.clone()).await,
        kafka: kafka.expect("a client"),
        platforms: Api::namespaced(client.clone(), "tributary"),
        pipelines: Api::namespaced(client.clone(), "tenant-acme"),
        tables: Api::namespaced(client.clone(), "tenant-acme"),
        client,
    };
    let operator = Running::start(&world.proxy);

    conditions_of_a_platform(&world, &bootstrap).await;
    refusal_without_a_secret(&world).await;
    a_lost_ledger_waits_for_connect(&world).await;
    operator.stop().await;
    another_pipeline_is_recorded(&world, &bootstrap).await;
    let operator = Running::start(&world.proxy);
    claims_topics_and_children(&world).await;
    steady_objects_are_not_written(&world).await;
    let operator = a_status_is_only_a_cache(&world, operator).await;
    letters::dead_letters_show(&world, &bootstrap).await;
    the_same_identity_goes_on(&world, &bootstrap).await;
    claims::the_first_has_it_until_it_is_gone(&world).await;
    deletion::a_namespace_goes_while_nothing_answers(&world, &broker, &bootstrap).await;
    the_platform_goes_last(&world).await;
    operator.stop().await;
}

/// A platform says what does not answer, each by its own condition.
async fn conditions_of_a_platform(world: &World, bootstrap: &str) {
    for name in ["admin", "load"] {
        let secret =
            json!({"metadata": {"name": name}, "stringData": {"username": "u", "password": "secret-word"}});
        create::<Secret>(&world.client, "tributary", secret).await;
    }
    let _: Api<DataPlatform> = create(&world.client, "tributary", platform(bootstrap)).await;
    let status = until("platform status", || async {
        let status = world.platforms.get("main").await.ok()?.status?;
        (status.observed_generation > 0).then_some(status)
    })
    .await;
    assert_eq!(word(&status.conditions, "KafkaReachable"), "True/Reachable");
    assert_eq!(word(&status.conditions, "ConnectReachable"), "False/Unreachable");
    assert_eq!(word(&status.conditions, "HotReachable"), "False/Unreachable");
    assert_eq!(word(&status.conditions, "SourceSecretsReady"), "True/Mirrored");
    assert_eq!(word(&status.conditions, "Ready").split('/').next(), Some("False"));
}

/// A pipeline without its Secret is refused with the field named, and makes nothing.
async fn refusal_without_a_secret(world: &World) {
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    let reason = until("refusal", || async {
        world.pipelines.get("acme").await.ok()?.status?.reason
    })
    .await;
    assert_eq!(reason, "SecretNotFound");
    let tables = world.tables.list(&Default::default()).await.expect("a list");
    assert!(tables.items.is_empty());
}

/// An empty ledger may be a lost one: while Connect cannot say whose connectors there are, nothing is claimed.
async fn a_lost_ledger_waits_for_connect(world: &World) {
    let uri = "mongodb://u:secret-word@127.0.0.1:1/?replicaSet=rs0";
    let secret = json!({"metadata": {"name": "acme-mongodb"}, "stringData": {"uri": uri}});
    create::<Secret>(&world.client, "tenant-acme", secret).await;
    until("claims unknown", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "Accepted") == "Unknown/BackendUnavailable").then_some(())
    })
    .await;
    let tables = world.tables.list(&Default::default()).await.expect("a list");
    assert!(tables.items.is_empty(), "nothing is made without a claim");
    let topics = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    assert!(topics.is_empty());
}

/// From now on the ledger is in use.
async fn another_pipeline_is_recorded(world: &World, bootstrap: &str) {
    let other = Entry {
        record: Some(PipelineRecord::default()),
        ..Entry::default()
    };
    let platform = serde_json::from_value(platform(bootstrap)).expect("a platform");
    let book = Ledgers::default().book(&platform);
    book.write(&world.kafka, |state| {
        state.record("elsewhere/other", &other, false)
    })
    .await
    .expect("recorded");
}

/// Claims and topics are made, the child appears under its owner, and what does not answer is Unknown.
async fn claims_topics_and_children(world: &World) {
    let child = until("child table", || async {
        world.tables.get_opt(CHILD).await.ok()?
    })
    .await;
    assert_eq!(child.owner_references()[0].name, "acme");
    assert_eq!(child.spec.database.as_deref(), Some("tenant_acme"));
    let status = until("backends unknown", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        let known = word(&status.conditions, "TopicsReady") == "True/InSync"
            && word(&status.conditions, "ConnectorReady") == "Unknown/BackendUnavailable"
            && word(&status.conditions, "TablesReady") != "Unknown/NotYetChecked";
        known.then_some(status)
    })
    .await;
    assert_eq!(word(&status.conditions, "Accepted"), "True/Accepted");
    let text = serde_json::to_string(&status).expect("a status");
    assert!(!text.contains("secret-word"), "a credential in a status: {text}");
}

impl World {
    fn log(&self, mark: usize) -> Vec<Seen> {
        let all = self.proxy.since(mark);
        all.into_iter().filter(|s| !s.path.contains("/leases/")).collect()
    }

    fn writes(&self, mark: usize) -> Vec<Seen> {
        self.log(mark).into_iter().filter(Seen::writes).collect()
    }

    /// Brings every object's turn `times` times, and waits until each had them: seen by what a turn reads.
    async fn turns(&self, times: usize) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..times {
            let mark = self.proxy.mark();
            let count = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
            let body = json!({"metadata": {"annotations": {"tributary.dev/reconcile-requested-at": count}}});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
            self.platforms
                .patch("main", &params, &patch)
                .await
                .expect("patched");
            self.pipelines
                .patch("acme", &params, &patch)
                .await
                .expect("patched");
            self.tables.patch(CHILD, &params, &patch).await.expect("patched");
            until("a turn of the pipeline and of its table", || async {
                let seen = self.log(mark);
                let read = |path: &str| seen.iter().filter(|s| s.path.contains(path)).count();
                // The pipeline reads its own Secret, and all three the platform's.
                (read("/secrets/acme-mongodb") >= 1 && read("/secrets/admin") >= 3).then_some(())
            })
            .await;
        }
    }

    async fn ledger_end(&self) -> i64 {
        self.kafka
            .watermarks("tributary-ledger", 0)
            .await
            .expect("ends")
            .high
    }
}

/// Several turns of every object write nothing: not to Kubernetes, not to the ledger.
async fn steady_objects_are_not_written(world: &World) {
    // What the breakers learn in their first minute may still change a reason once.
    until("quiet turns", || async {
        let (mark, end) = (world.proxy.mark(), world.ledger_end().await);
        world.turns(3).await;
        let quiet = world.writes(mark).is_empty() && world.ledger_end().await == end;
        quiet.then_some(())
    })
    .await;
    let (mark, end) = (world.proxy.mark(), world.ledger_end().await);
    world.turns(5).await;
    let asked = world.log(mark).len();
    assert_eq!(world.writes(mark).len(), 0, "{:?}", world.writes(mark));
    assert_eq!(world.ledger_end().await, end, "the ledger was written");
    println!("steady: {asked} reads, 0 writes, 0 ledger records in 5 turns of every object");
}

/// Every status is deleted and the operator starts anew: statuses come back, and nothing else is written anywhere.
async fn a_status_is_only_a_cache(world: &World, operator: Running) -> Running {
    operator.stop().await;
    let before = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    let body = json!({"status": null});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
    world
        .platforms
        .patch_status("main", &params, &patch)
        .await
        .expect("deleted");
    world
        .pipelines
        .patch_status("acme", &params, &patch)
        .await
        .expect("deleted");
    world
        .tables
        .patch_status(CHILD, &params, &patch)
        .await
        .expect("deleted");
    let mark = world.proxy.mark();
    let operator = Running::start(&world.proxy);
    until("statuses come back", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "TopicsReady") == "True/InSync").then_some(())
    })
    .await;
    world.turns(2).await;
    let others: Vec<Seen> = world
        .writes(mark)
        .into_iter()
        .filter(|s| !s.path.contains("/status?") && !s.path.contains("/events"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let after = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    assert_eq!(before, after);
    operator
}

async fn ledger_entry(world: &World, bootstrap: &str) -> Entry {
    let platform = serde_json::from_value(platform(bootstrap)).expect("a platform");
    let book = Ledgers::default().book(&platform);
    let state = book.peek(&world.kafka).await.expect("read");
    state.entry("tenant-acme/acme")
}

/// Deletion waits for Connect and says so; told not to, it lets go and notes what is left; the same identity, applied again with
/// another UID, finds its claims and topics as they were.
async fn the_same_identity_goes_on(world: &World, bootstrap: &str) {
    let before = ledger_entry(world, bootstrap).await;
    assert!(!before.is_retained());
    let topic = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    delete_pipeline(world).await;
    let kept = ledger_entry(world, bootstrap).await;
    assert!(kept.is_retained());
    let left = &kept.record.as_ref().expect("a record").left_behind;
    assert!(left.iter().any(|l| l == "the connector"), "{left:?}");

    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    until("topics again", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "TopicsReady") == "True/InSync").then_some(())
    })
    .await;
    assert_eq!(ledger_entry(world, bootstrap).await, before);
    let again = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    assert_eq!(again, topic, "the same topic, by its id");
    delete_pipeline(world).await;
}

async fn delete_pipeline(world: &World) {
    let pipelines = &world.pipelines;
    pipelines
        .delete("acme", &DeleteParams::default())
        .await
        .expect("deleted");
    let waiting = until("pipeline waits", || async {
        let status = pipelines.get("acme").await.ok()?.status?;
        (status.reason.as_deref() == Some("Deleting")).then(|| status.message.unwrap_or_default())
    })
    .await;
    assert!(waiting.contains("Kafka Connect does not answer"), "{waiting}");
    let orphan = json!({"spec": {"onUnreachable": {"action": "Orphan", "after": "1s"}}});
    pipelines
        .patch("acme", &PatchParams::default(), &Patch::Merge(&orphan))
        .await
        .expect("patched");
    until("pipeline gone", || async {
        pipelines.get_opt("acme").await.ok()?.is_none().then_some(())
    })
    .await;
    until("child gone", || async {
        world.tables.get_opt(CHILD).await.ok()?.is_none().then_some(())
    })
    .await;
}

/// The platform waits for its pipelines, and for nothing else; the tenant's Secret is the tenant's.
async fn the_platform_goes_last(world: &World) {
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    until("finalizer", || async {
        let pipeline = world.pipelines.get("acme").await.ok()?;
        (!pipeline.finalizers().is_empty()).then_some(())
    })
    .await;
    world
        .platforms
        .delete("main", &DeleteParams::default())
        .await
        .expect("deleted");
    until("platform in use", || async {
        let status = world.platforms.get("main").await.ok()?.status?;
        (status.reason.as_deref() == Some("InUse")).then_some(())
    })
    .await;
    // Whoever takes the platform away by force declares its backends gone: nothing hangs any more.
    let release = json!({"metadata": {"finalizers": null}});
    world
        .platforms
        .patch("main", &PatchParams::default(), &Patch::Merge(&release))
        .await
        .expect("released");
    world
        .pipelines
        .delete("acme", &DeleteParams::default())
        .await
        .expect("deleted");
    until("pipeline gone", || async {
        world
            .pipelines
            .get_opt("acme")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "tenant-acme");
    assert!(
        secrets
            .get_opt("acme-mongodb")
            .await
            .expect("an answer")
            .is_some()
    );
}
