//! A table object goes: its physical table by policy, and only when it carries our mark.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use tributary_crds::mapping::{TableOrigin, compile_table};
use tributary_crds::pipeline::OnUnreachable;
use tributary_crds::status::TableReason as R;
use tributary_crds::template::DeletionPolicy;
use tributary_crds::{StarRocksTable, TenantPipeline};

use super::ddl::{Statement, TableName, plan::owner_mark};
use super::dereference::{self, Referenced};
use super::{status, validate};
use crate::backend::{BackendError, BackendResult};
use crate::context::{Context, refers_to};
use crate::error::{self, Error};
use crate::guard::Guard;
use crate::pipeline::teardown::plan::{Patience, patience};
use crate::publish::publish;
use crate::telemetry::Kind;

const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// What stands between the object and its release.
#[derive(Debug)]
enum Blocked {
    InUse(Vec<String>),
    Backend(BackendError),
}

pub async fn reconcile(table: &StarRocksTable, context: &Context) -> Result<Action, Error> {
    let patience = patience_with(table, context);
    let own = table.namespace().unwrap_or_default();
    let goes = context.yields_after(&own).is_some();
    let users = referrers(table, context).await?;
    let blocked = if users.is_empty() {
        match drop_by_policy(table, context).await?.err() {
            Some(error) if patience != Patience::Wait => {
                orphaned(
                    table,
                    &format!("Released without dropping the table: {error}."),
                    context,
                )
                .await;
                None
            }
            error => error.map(Blocked::Backend),
        }
    } else if guard_yields(&users, &own, patience, goes) {
        // Others write to it: whatever the policy says, their rows stay.
        let note = format!(
            "Released although {} write to the table, which stays.",
            users.join(", ")
        );
        orphaned(table, &note, context).await;
        None
    } else {
        Some(Blocked::InUse(users))
    };
    let Some(blocked) = blocked else {
        context.kubernetes.remove_finalizer(table).await?;
        return Ok(Action::await_change());
    };
    let (reason, message) = match &blocked {
        Blocked::InUse(users) => (
            R::InUse,
            format!("Deletion waits: {} still write to this table.", users.join(", ")),
        ),
        Blocked::Backend(error) if error.is_retryable() => (
            R::BackendUnavailable,
            format!("Deletion waits: {}", status::away(error)),
        ),
        Blocked::Backend(error) => (R::BackendUnavailable, format!("Deletion waits: {error}.")),
    };
    let next = status::waiting(table, reason, &message, Timestamp::now());
    // A terminating namespace may refuse the write; the teardown goes on without it.
    if let Err(error) = publish(context, Kind::StarRocksTable, table, table.status.as_ref(), &next).await {
        tracing::debug!(%error, "status of a table that goes");
    }
    Ok(error::requeue(WAIT))
}

async fn orphaned(table: &StarRocksTable, note: &str, context: &Context) {
    let own = table.namespace().unwrap_or_default();
    let platform = context.stores.platform(table.spec.platform_ref.as_ref(), &own);
    context
        .tell_orphaned(Kind::StarRocksTable, table, platform.as_deref(), note)
        .await;
}

/// Rule 25: in a namespace that goes, the guard yields: to users elsewhere at once, who cannot keep it, and to those that go with
/// it after the bound.
fn guard_yields(users: &[String], own: &str, patience: Patience, goes: bool) -> bool {
    let here = format!("{own}/");
    let goes = goes && Guard::NamespaceYields.holds();
    goes && (patience != Patience::Wait || !users.iter().any(|user| user.starts_with(&here)))
}

/// How long a cluster that does not answer is waited for: the same bounds as for pipelines.
fn patience_with(table: &StarRocksTable, context: &Context) -> Patience {
    let own = table.namespace().unwrap_or_default();
    let platform = context.stores.platform(table.spec.platform_ref.as_ref(), &own);
    let defaults = platform.as_ref().and_then(|p| p.spec.defaults.as_ref());
    let unreachable = defaults.and_then(|d| d.on_unreachable.as_ref());
    let since = table.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    let waited = since.map_or(std::time::Duration::ZERO, |t| {
        Timestamp::now().duration_since(t).unsigned_abs()
    });
    let asked = unreachable.and_then(OnUnreachable::orphans_after);
    patience(waited, asked, context.yields_after(&own))
}

/// Pipelines that write to the table without owning it, asked from the API server. A pipeline that goes itself has stopped
/// writing before it lets go, and counts until then.
async fn referrers(table: &StarRocksTable, context: &Context) -> Result<Vec<String>, Error> {
    if crate::pipeline::owner_of(table).is_some() {
        return Ok(Vec::new());
    }
    let pipelines: Vec<TenantPipeline> = context.kubernetes.list_all().await?;
    Ok(pipelines
        .iter()
        .filter(|p| {
            let own = p.namespace().unwrap_or_default();
            crate::pipeline::table_refs(p).any(|r| refers_to(Some(r), &own, table))
        })
        .map(|p| format!("{}/{}", p.namespace().unwrap_or_default(), p.name_any()))
        .take(10)
        .collect())
}

async fn drop_by_policy(table: &StarRocksTable, context: &Context) -> Result<BackendResult<()>, Error> {
    if table.spec.template.deletion_policy.unwrap_or_default() == DeletionPolicy::Retain {
        return Ok(Ok(()));
    }
    let refs = dereference::dereference(table, context).await?;
    // A spec that never compiled never became a table.
    let Ok(compiled) = compile_table(&table.spec, &table.name_any(), TableOrigin::Object) else {
        return Ok(Ok(()));
    };
    let name = TableName::new(&compiled.database, compiled.rows_table());
    let view = TableName::new(&compiled.database, &compiled.table);
    let Some(platform) = &refs.platform else {
        let note = format!("The platform is gone: table {name} stays where it is.");
        context
            .tell(Kind::StarRocksTable, table, EventType::Warning, "Orphaned", &note)
            .await;
        return Ok(Ok(()));
    };
    let mark = validate::owner(table, platform).mark();
    if view != name
        && let Err(error) = drop_our_view(&view, &mark, &refs, context).await
    {
        return Ok(Err(error));
    }
    Ok(drop_ours(&name, &mark, &refs, context).await)
}

/// Before its table: a view over nothing would answer with errors.
async fn drop_our_view(
    name: &TableName,
    mark: &str,
    refs: &Referenced,
    context: &Context,
) -> BackendResult<()> {
    let client = dereference::client(refs, context)?;
    match client.view(name).await? {
        Some(live) if live.definition.is_some() && owner_mark(&live.comment) == Some(mark) => {
            let view = name.clone();
            client.execute(&Statement::DropView { view }).await
        }
        Some(_) | None => Ok(()),
    }
}

async fn drop_ours(name: &TableName, mark: &str, refs: &Referenced, context: &Context) -> BackendResult<()> {
    let client = dereference::client(refs, context)?;
    match client.table(name).await? {
        Some(live) if owner_mark(&live.comment) == Some(mark) => {
            tracing::info!(table = %name, "dropping table: deletionPolicy is Delete");
            client
                .execute(&Statement::DropTable { table: name.clone() })
                .await
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_namespace_that_goes_users_elsewhere_hold_nothing_up() {
        let elsewhere = ["tenant-b/acme".to_owned()];
        let here = ["shop/acme".to_owned(), "tenant-b/acme".to_owned()];
        let yields = |users: &[String], patience, goes| guard_yields(users, "shop", patience, goes);
        assert!(yields(&elsewhere, Patience::Wait, true));
        assert!(!yields(&here, Patience::Wait, true), "it goes too, and in order");
        assert!(yields(&here, Patience::Yield, true));
        for patience in [Patience::Wait, Patience::Yield, Patience::Abandon] {
            assert!(
                !yields(&elsewhere, patience, false),
                "people use it: {patience:?}"
            );
        }
    }
}
