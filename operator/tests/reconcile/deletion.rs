//! Rule 25: a namespace with pipelines goes while nothing answers, in bounded time; what is left is recorded, and the same identity
//! applied again goes on with it.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use tributary_stage::control::{self, Action};

use super::*;

/// A pipeline lives, with its topics in Kafka and its claims in the ledger; then Kafka goes as well, and then the namespace.
pub(super) async fn a_namespace_goes_while_nothing_answers(world: &World, broker: &Stage, bootstrap: &str) {
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    until("topics", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "TopicsReady") == "True/InSync").then_some(())
    })
    .await;
    let before = ledger_entry(world, bootstrap).await;
    let topic = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");

    order(broker, Action::Stop).await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete("tenant-acme", &DeleteParams::default())
        .await
        .expect("deleted");
    empty(world).await;
    until("the pipeline is gone", || async {
        world
            .pipelines
            .get_opt("acme")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
    until("its table is gone", || async {
        world.tables.get_opt(CHILD).await.ok()?.is_none().then_some(())
    })
    .await;
    // The namespace takes no events any more: the platform's has it.
    let events: Api<Event> = Api::namespaced(world.client.clone(), "tributary");
    until("it is told what is left", || async {
        let events = events.list(&ListParams::default()).await.ok()?;
        let left = events
            .items
            .iter()
            .filter(|e| e.reason.as_deref() == Some("Orphaned"));
        let notes: Vec<String> = left.filter_map(|e| e.note.clone()).collect();
        let named = |what: &str| {
            notes
                .iter()
                .any(|n| n.contains("tenant-acme/acme") && n.contains(what))
        };
        (named("the connector") && named("the consumer group")).then_some(())
    })
    .await;

    order(broker, Action::Start).await;
    namespace_again(world, &namespaces).await;
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    until("topics again", || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "TopicsReady") == "True/InSync").then_some(())
    })
    .await;
    assert_eq!(
        ledger_entry(world, bootstrap).await,
        before,
        "the same generations and claims"
    );
    let again = world
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("topics");
    assert_eq!(again, topic, "the same topic, by its id");
    delete_pipeline(world).await;
}

async fn order(broker: &Stage, action: Action) {
    let folder = broker.info().state_dir.clone();
    tokio::task::spawn_blocking(move || control::order(&folder, action, "kafka"))
        .await
        .expect("a thread")
        .expect("done");
}

/// What the namespace controller does, which runs beside an API server and not inside of it. Secrets go first.
async fn empty(world: &World) {
    let (params, all) = (DeleteParams::default(), ListParams::default());
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "tenant-acme");
    secrets.delete_collection(&params, &all).await.expect("deleted");
    world
        .pipelines
        .delete_collection(&params, &all)
        .await
        .expect("deleted");
    world
        .tables
        .delete_collection(&params, &all)
        .await
        .expect("deleted");
}

async fn namespace_again(world: &World, namespaces: &Api<Namespace>) {
    let mut going = namespaces.get("tenant-acme").await.expect("it goes");
    going.spec.get_or_insert_default().finalizers = None;
    let params = PostParams::default();
    namespaces
        .replace_subresource("finalize", "tenant-acme", &params, &going)
        .await
        .expect("finalized");
    until("the namespace is gone", || async {
        namespaces
            .get_opt("tenant-acme")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
    let labels = json!({"tributary.dev/platform": "main", "tributary.dev/tenant": "acme"});
    namespace(&world.client, "tenant-acme", labels).await;
    let secret = json!({"metadata": {"name": "acme-mongodb"}, "stringData": {
        "uri": "mongodb://u:secret-word@127.0.0.1:1/?replicaSet=rs0"}});
    create::<Secret>(&world.client, "tenant-acme", secret).await;
}
