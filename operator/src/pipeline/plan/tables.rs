//! Tables: children of the pipeline by server-side apply, referenced ones only looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use tributary_crds::effective::EffectiveTable;
use tributary_crds::names::{LABEL_DATASET, LABEL_ENTRY};
use tributary_crds::relay::DatasetConfig;
use tributary_crds::status::{ConditionStatus, TableReason, find};
use tributary_crds::table::StarRocksTableSpec;
use tributary_crds::{StarRocksTable, TenantPipeline};

use super::Action;
use crate::guard::Guard;
use crate::kubernetes::{is_applied, metadata};
use crate::pipeline::observe::Observed;
use crate::pipeline::validate::Accepted;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablesView {
    Ready,
    NotReady(TableProblem),
    /// A table's cluster does not answer; what the table looks like is not known.
    Unknown(String),
}

/// The first table that is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblem {
    pub kind: ProblemKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    NotReady,
    Conflict,
    Refused,
}

pub(super) fn plan(accepted: &Accepted, observed: &Observed, actions: &mut Vec<Action>) -> TablesView {
    if let Some(name) = observed.foreign_children.first() {
        let message = format!(
            "StarRocksTable {name} exists in this namespace and does not belong to this pipeline: rename the dataset or the entry, or refer to it with tableRef."
        );
        return TablesView::NotReady(TableProblem {
            kind: ProblemKind::Conflict,
            message,
        });
    }
    let mut view = TablesView::Ready;
    for (name, table) in wanted(accepted) {
        let live = observed.children.get(&name);
        let current = is_applied(live.map(Arc::as_ref), &table);
        let state = match live {
            Some(live) if current => judge(live),
            _ => not_ready(format!("StarRocksTable {name} is being applied.")),
        };
        if !current {
            actions.push(Action::ApplyTable(Box::new(table)));
        }
        keep_worst(&mut view, state);
    }
    for table in accepted.shared_tables.values() {
        keep_worst(&mut view, judge(table));
    }
    view
}

/// Children that the spec no longer names; deleted once no relay writes to them.
pub(super) fn stale(accepted: &Accepted, observed: &Observed) -> Vec<String> {
    let wanted: std::collections::BTreeSet<&str> =
        accepted.effective.own_tables().map(|(name, _)| name).collect();
    let gone = |t: &StarRocksTable| t.metadata.deletion_timestamp.is_some();
    observed
        .children
        .iter()
        .filter(|(name, table)| !wanted.contains(name.as_str()) && !gone(table))
        .map(|(name, _)| name.clone())
        .collect()
}

fn wanted(accepted: &Accepted) -> BTreeMap<String, StarRocksTable> {
    let mut tables = BTreeMap::new();
    for dataset in &accepted.effective.datasets {
        for table in &dataset.tables {
            if let EffectiveTable::Own { entry, child, spec } = table {
                tables.insert(
                    child.clone(),
                    child_object(accepted, &dataset.name, entry, child, spec),
                );
            }
        }
    }
    tables
}

fn child_object(
    accepted: &Accepted,
    dataset: &str,
    entry: &str,
    child: &str,
    spec: &StarRocksTableSpec,
) -> StarRocksTable {
    let owner = &accepted.effective.owner;
    let mut labels = owner.labels(
        &accepted.effective.platform.name,
        &accepted.effective.tenant,
        "table",
    );
    labels.insert(LABEL_DATASET.to_owned(), dataset.to_owned());
    labels.insert(LABEL_ENTRY.to_owned(), entry.to_owned());
    let mut table = StarRocksTable::new(child, spec.clone());
    table.metadata = metadata(&owner.namespace, child, labels);
    table.metadata.owner_references = Some(vec![OwnerReference {
        api_version: TenantPipeline::api_version(&()).into_owned(),
        kind: TenantPipeline::kind(&()).into_owned(),
        name: owner.name.clone(),
        uid: accepted.pipeline.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }]);
    table
}

fn not_ready(message: String) -> TablesView {
    TablesView::NotReady(TableProblem {
        kind: ProblemKind::NotReady,
        message,
    })
}

/// What a table object says of itself; nothing before it has looked at its newest generation.
fn judge(table: &StarRocksTable) -> TablesView {
    let name = table.name_any();
    let Some(status) = table
        .status
        .as_ref()
        .filter(|s| Some(s.observed_generation) == table.metadata.generation)
    else {
        return not_ready(format!("StarRocksTable {name} has not been looked at yet."));
    };
    let message = |text: &str| format!("StarRocksTable {name}: {text}");
    let Some(ready) = find(&status.conditions, "Ready") else {
        return not_ready(format!("StarRocksTable {name} has not been looked at yet."));
    };
    match ready.status {
        // Whoever wrote this status did not say which columns there are.
        ConditionStatus::True if status.live.is_none() => {
            not_ready(format!("StarRocksTable {name} has not been looked at yet."))
        }
        ConditionStatus::True => TablesView::Ready,
        ConditionStatus::Unknown => TablesView::Unknown(message(&ready.message)),
        ConditionStatus::False => {
            let kind = match ready.reason.as_str() {
                r if r == TableReason::TableConflict.as_str() => ProblemKind::Conflict,
                r if r == TableReason::DDLRefused.as_str() => ProblemKind::Refused,
                _ => ProblemKind::NotReady,
            };
            TablesView::NotReady(TableProblem {
                kind,
                message: message(&ready.message),
            })
        }
    }
}

/// A dataset's mapping as it may run now: without the columns that StarRocks was not seen to have (rule 18). It ignores names it
/// does not know, silently: a value for such a column would be lost, whereas an unmapped one waits in `_extra`. A column joins
/// as a new mapping once it is there.
pub(super) fn mapped(accepted: &Accepted, observed: &Observed, dataset: &DatasetConfig) -> DatasetConfig {
    let mut mapped = dataset.clone();
    if !Guard::VerifiedColumns.holds() {
        return mapped;
    }
    for table in &mut mapped.tables {
        let verified = verified(accepted, observed, &dataset.name, &table.entry);
        let key = &table.primary_key;
        table
            .columns
            .retain(|c| key.contains(&c.name) || verified.contains(&c.name));
    }
    mapped
}

fn verified<'a>(accepted: &'a Accepted, observed: &'a Observed, dataset: &str, entry: &str) -> &'a [String] {
    let of_dataset = accepted.effective.datasets.iter().filter(|d| d.name == dataset);
    let table = of_dataset.flat_map(|d| &d.tables).find(|t| t.entry() == entry);
    let object = table.and_then(|table| match table {
        EffectiveTable::Own { child, .. } => observed.children.get(child),
        EffectiveTable::Referenced { namespace, name, .. } => {
            accepted.shared_tables.get(&format!("{namespace}/{name}"))
        }
    });
    let live = object
        .and_then(|o| o.status.as_ref())
        .and_then(|s| s.live.as_ref());
    live.map_or(&[], |l| &l.columns)
}

fn keep_worst(view: &mut TablesView, state: TablesView) {
    let rank = |v: &TablesView| match v {
        TablesView::Ready => 0,
        TablesView::Unknown(_) => 1,
        TablesView::NotReady(p) if p.kind == ProblemKind::NotReady => 2,
        TablesView::NotReady(_) => 3,
    };
    if rank(&state) > rank(view) {
        *view = state;
    }
}
