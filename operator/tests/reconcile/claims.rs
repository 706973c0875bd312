//! Who has a tenant, a topic, the rows of a shared table: the first, until it is gone. And what a deletion gives back.

use serde_json::json;
use tributary_crds::pipeline::TenantPipelineStatus;
use tributary_crds::status::find;

use super::*;

/// A pipeline on a source of its own.
fn on(name: &str, prefix: &str, changes: serde_json::Value) -> serde_json::Value {
    let mut object = pipeline();
    object["metadata"]["name"] = json!(name);
    object["spec"]["source"]["mongodb"]["topicPrefix"] = json!(prefix);
    object["spec"]["source"]["mongodb"]["database"] = json!(format!("shop_{prefix}"));
    for (field, value) in changes.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// The only table of the pipeline is somebody's.
fn into_shared() -> serde_json::Value {
    json!({"datasets": [{"name": "orders", "hot": {"tables": [{"name": "orders", "tableRef": {"name": "shared"}}]}}]})
}

async fn accepted(pipelines: &Api<TenantPipeline>, name: &str, wanted: &str) -> TenantPipelineStatus {
    // Its turn comes now, not at the next of its own accord.
    let soon = json!({"metadata": {"annotations": {"tributary.dev/reconcile-requested-at": format!("{wanted} wanted")}}});
    let params = PatchParams::default();
    pipelines
        .patch(name, &params, &Patch::Merge(&soon))
        .await
        .expect("patched");
    until(&format!("{name} is {wanted}"), || async {
        let status = pipelines.get(name).await.ok()?.status?;
        (word(&status.conditions, "Accepted") == wanted).then_some(status)
    })
    .await
}

fn told(status: &TenantPipelineStatus) -> String {
    let condition = find(&status.conditions, "Accepted");
    condition.map(|c| c.message.clone()).unwrap_or_default()
}

/// Connect is away for good in this world: deletion is told not to wait for it.
async fn remove(pipelines: &Api<TenantPipeline>, name: &str, policy: &str) {
    let spec =
        json!({"spec": {"deletionPolicy": policy, "onUnreachable": {"action": "Orphan", "after": "1s"}}});
    let params = PatchParams::default();
    pipelines
        .patch(name, &params, &Patch::Merge(&spec))
        .await
        .expect("patched");
    pipelines
        .delete(name, &DeleteParams::default())
        .await
        .expect("deleted");
    until(&format!("{name} is gone"), || async {
        let left = pipelines.get_opt(name).await.ok()?;
        if let Some(left) = &left {
            // Shown when the test fails: what the deletion waits for.
            eprintln!("{name} waits: {:?}", left.status.as_ref().map(|s| &s.conditions));
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
        left.is_none().then_some(())
    })
    .await;
}

pub(super) async fn the_first_has_it_until_it_is_gone(world: &World) {
    topics(world).await;
    rows_of_a_shared_table(world).await;
    tenants(world).await;
}

/// Retain keeps the topics' names for the same identity; Delete gives them back.
async fn topics(world: &World) {
    let pipelines = &world.pipelines;
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    accepted(pipelines, "acme", "True/Accepted").await;
    let mut second = pipeline();
    second["metadata"]["name"] = json!("second");
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", second).await;
    let refused = accepted(pipelines, "second", "False/TopicClaimed").await;
    assert!(
        told(&refused).contains("TenantPipeline acme"),
        "{}",
        told(&refused)
    );
    assert_eq!(word(&refused.conditions, "Stalled"), "True/TopicClaimed");
    let tables = world.tables.list(&Default::default()).await.expect("a list");
    let names: Vec<String> = tables.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, [CHILD], "nothing is made for who has no claim");

    remove(pipelines, "acme", "Retain").await;
    until("the data is kept, and so are its topics", || async {
        let status = pipelines.get("second").await.ok()?.status?;
        told(&status).contains("deleted and its data kept").then_some(())
    })
    .await;
    let _: Api<TenantPipeline> = create(&world.client, "tenant-acme", pipeline()).await;
    accepted(pipelines, "acme", "True/Accepted").await;
    remove(pipelines, "acme", "Delete").await;
    accepted(pipelines, "second", "True/Accepted").await;
    remove(pipelines, "second", "Delete").await;
}

/// Two writers of one tenant's rows would overwrite each other; what only a running pipeline does is free once it is gone.
async fn rows_of_a_shared_table(world: &World) {
    let pipelines = &world.pipelines;
    let table = json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable", "metadata": {"name": "shared"},
        "spec": {"platformRef": {"name": "main", "namespace": "tributary"}, "database": "tenant_acme",
            "primaryKey": ["order_id"],
            "columns": [{"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"}]}});
    let _: Api<StarRocksTable> = create(&world.client, "tenant-acme", table).await;
    let _: Api<TenantPipeline> =
        create(&world.client, "tenant-acme", on("third", "third", into_shared())).await;
    accepted(pipelines, "third", "True/Accepted").await;
    let _: Api<TenantPipeline> = create(
        &world.client,
        "tenant-acme",
        on("fourth", "fourth", into_shared()),
    )
    .await;
    let refused = accepted(pipelines, "fourth", "False/TableConflict").await;
    assert!(
        told(&refused).contains("TenantPipeline third"),
        "{}",
        told(&refused)
    );
    assert!(
        told(&refused).contains("tenant_acme.shared"),
        "{}",
        told(&refused)
    );
    remove(pipelines, "third", "Retain").await;
    accepted(pipelines, "fourth", "True/Accepted").await;
}

/// Another namespace learns that the tenant is taken and not by whom; with the last pipeline gone, the platform's rule decides.
async fn tenants(world: &World) {
    let labels = json!({"tributary.dev/platform": "main", "tributary.dev/tenant": "acme"});
    namespace(&world.client, "tenant-rival", labels).await;
    let secret = json!({"metadata": {"name": "acme-mongodb"}, "stringData": {
        "uri": "mongodb://u:secret-word@127.0.0.1:1/?replicaSet=rs0"}});
    create::<Secret>(&world.client, "tenant-rival", secret).await;
    let rivals: Api<TenantPipeline> =
        create(&world.client, "tenant-rival", on("rival", "rival", json!({}))).await;
    let refused = accepted(&rivals, "rival", "False/TenantClaimed").await;
    assert!(!told(&refused).contains("fourth") && !told(&refused).contains("tenant-acme"));
    remove(&world.pipelines, "fourth", "Retain").await;
    world
        .tables
        .delete("shared", &DeleteParams::default())
        .await
        .expect("deleted");
    accepted(&rivals, "rival", "True/Accepted").await;
    remove(&rivals, "rival", "Delete").await;
}
