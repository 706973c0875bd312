//! `plan`: the controllers' own plans, printed instead of carried out. Offline from files, or against a cluster and its backends.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::{Client, ResourceExt};
use tributary_crds::{StarRocksTable, TenantPipeline};
use tributary_operator::backend::BackendResult;
use tributary_operator::context::Context;
use tributary_operator::pipeline::claims;
use tributary_operator::pipeline::observe::{Observed, RelayAnswer, observe};
use tributary_operator::pipeline::plan::{Action, ConnectorView, RelayView, TablesView, TopicsView};
use tributary_operator::pipeline::simulate::{Course, course, empty_world};
use tributary_operator::pipeline::validate::{Accepted, validate};
use tributary_operator::table::ddl::Version;
use tributary_operator::table::dereference::Live;
use tributary_operator::table::plan::Outcome;
use tributary_operator::{pipeline, table};

use crate::cluster;
use crate::offline::Files;
use crate::output::{Exit, Failure};
use crate::report::{Now, Refusal, Report, Step};

/// What the plans are for, and what they take for granted.
pub(crate) struct Offline {
    pub(crate) version: Version,
    /// Databases that an earlier statement has made.
    pub(crate) databases: BTreeSet<String>,
}

/// Every table and pipeline of the files, as if nothing of them existed.
pub(crate) fn offline(files: &Files, version: Version) -> Vec<Report> {
    let mut world = Offline {
        version,
        databases: BTreeSet::new(),
    };
    let tables = files
        .tables
        .iter()
        .map(|t| table_alone(files, t, &mut world))
        .collect::<Vec<_>>();
    let pipelines = files
        .pipelines
        .iter()
        .map(|p| pipeline_alone(files, p, &mut world));
    let pipelines = pipelines.collect::<Vec<_>>();
    tables.into_iter().chain(pipelines).collect()
}

pub(crate) fn exit(reports: &[Report]) -> Exit {
    let trouble = |r: &Report| r.refused.is_some() || !r.unknown.is_empty();
    match reports {
        _ if reports.iter().any(trouble) => Exit::Trouble,
        _ if reports.iter().any(|r| !r.steps.is_empty()) => Exit::Changes,
        _ => Exit::Fine,
    }
}

impl Report {
    fn new(object: String) -> Self {
        Self {
            object,
            refused: None,
            assumed: vec![],
            unknown: vec![],
            steps: vec![],
        }
    }

    fn refuse(mut self, reason: impl ToString, message: impl ToString) -> Self {
        self.steps.clear();
        self.refused = Some(Refusal {
            reason: reason.to_string(),
            message: message.to_string(),
        });
        self
    }
}

fn table_alone(files: &Files, of: &Arc<StarRocksTable>, world: &mut Offline) -> Report {
    let (refs, assumed) = files.table_refs(of);
    let mut report = Report::new(title("StarRocksTable", of.as_ref()));
    report.assumed = assumed.0;
    if refs.platform.is_none() {
        return missing_platform(report);
    }
    report.assumed.push(format!("StarRocks {}", world.version));
    match create(of, &refs, world) {
        Ok(steps) => {
            report.steps = steps;
            report
        }
        Err(refused) => report.refuse(refused.reason, refused.message),
    }
}

/// The statements that make a table that does not exist.
fn create(
    of: &StarRocksTable,
    refs: &table::dereference::Referenced,
    world: &mut Offline,
) -> Result<Vec<Step>, Refusal> {
    let valid = table::validate::validate(of, refs).map_err(|r| Refusal {
        reason: r.reason.to_string(),
        message: r.message,
    })?;
    let database = valid.desired.name.database.clone();
    let live = Live {
        version: world.version,
        database_exists: world.databases.contains(&database),
        table: None,
        view: None,
        jobs: Vec::new(),
        clock: None,
    };
    match table::plan::plan(&valid, &live) {
        Outcome::Planned(planned) => {
            world.databases.insert(database);
            Ok(planned.actions.iter().map(Step::statement).collect())
        }
        Outcome::Refused(refusal) => Err(Refusal {
            reason: "DDLRefused".to_owned(),
            message: refusal.to_string(),
        }),
        Outcome::Failed(error) | Outcome::Unavailable(error) => Err(Refusal {
            reason: "BackendUnavailable".to_owned(),
            message: error.to_string(),
        }),
    }
}

fn missing_platform(report: Report) -> Report {
    report.refuse(
        "PlatformMissing",
        "its DataPlatform is not among the files, and names, owner marks and defaults come from it: add its file with another -f, or plan against the cluster by name",
    )
}

fn pipeline_alone(files: &Files, of: &Arc<TenantPipeline>, world: &mut Offline) -> Report {
    let (refs, assumed) = files.pipeline_refs(of);
    let mut report = Report::new(title("TenantPipeline", of.as_ref()));
    report.assumed = assumed.0;
    if refs.platform.is_none() {
        return missing_platform(report);
    }
    let accepted = match validate(of, &refs) {
        Ok(accepted) => accepted,
        Err(refused) => return report.refuse(refused.reason, refused.message),
    };
    report.assumed.push("nothing of it exists yet".to_owned());
    let observed = empty_world(&accepted);
    let now = Now::of(&observed);
    let course = course(&accepted, observed);
    for action in course.first.actions.iter().chain(&course.later) {
        report.steps.push(Step::of(action, &accepted, &now));
        let Action::ApplyTable(child) = action else {
            continue;
        };
        match create(child, &files.table_refs(child).0, world) {
            Ok(steps) => report.steps.extend(steps),
            Err(refused) => return report.refuse(refused.reason, refused.message),
        }
    }
    report
}

fn title<K: ResourceExt>(kind: &str, object: &K) -> String {
    format!(
        "{kind} {}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// One pipeline of a cluster: what the operator would do next, and after that.
pub(crate) async fn live(
    client: &Client,
    namespace: &str,
    name: &str,
    relay_image: &str,
    edited: Option<&TenantPipeline>,
) -> Result<Report, Failure> {
    let cluster = cluster::read(client, namespace, name, relay_image).await?;
    let mut pipeline = cluster.pipeline.as_ref().clone();
    if let Some(edited) = edited {
        pipeline.spec = edited.spec.clone();
    }
    let pipeline = Arc::new(pipeline);
    let mut report = Report::new(title("TenantPipeline", pipeline.as_ref()));
    report.unknown = cluster.unseen.clone();
    let context = &cluster.context;
    let refs = pipeline::dereference::dereference(&pipeline, context).await?;
    let accepted = match validate(&pipeline, &refs) {
        Ok(accepted) => accepted,
        Err(refused) => return Ok(report.refuse(refused.reason, refused.message)),
    };
    let entry = match claims::peek(&accepted, context).await {
        Ok(Err(conflict)) => {
            let refused = claims::refused(&accepted, &conflict);
            return Ok(report.refuse(refused.reason, refused.message));
        }
        Ok(Ok(entry)) => Ok(entry),
        Err(error) => Err(error),
    };
    let observed = observe(&accepted, entry, context).await?;
    report.unknown.extend(unknown(&observed));
    let now = Now::of(&observed);
    let children = observed.children.clone();
    let course = course(&accepted, observed);
    report.unknown.extend(standstill(&course));
    let mut applied = BTreeSet::new();
    for action in course.first.actions.iter().chain(&course.later) {
        report.steps.push(Step::of(action, &accepted, &now));
        if let Action::ApplyTable(child) = action {
            applied.insert(child.name_any());
            align(child, context, &mut report).await?;
        }
    }
    for child in children.values().filter(|c| !applied.contains(&c.name_any())) {
        align(child, context, &mut report).await?;
    }
    Ok(report)
}

/// What a pipeline's backends did not say.
fn unknown(observed: &Observed) -> Vec<String> {
    let from_here = |what: &str, error: &dyn std::fmt::Display| format!("{what}, seen from here: {error}");
    let mut unknown = Vec::new();
    if let Err(error) = &observed.topics {
        unknown.push(from_here("topics", error));
    }
    if let Err(error) = &observed.connector {
        unknown.push(from_here("connector", error));
    }
    if let Err(error) = &observed.mirrored {
        unknown.push(from_here("mirrored credential", error));
    }
    if let Err(error) = &observed.ledger {
        unknown.push(from_here("ledger", error));
    }
    if let RelayAnswer::Unreachable(why) = &observed.relay {
        unknown.push(from_here("relay", why));
    }
    unknown
}

/// Why there is nothing to do although not all is well.
fn standstill(course: &Course) -> Vec<String> {
    let plan = &course.first;
    let mut why = Vec::new();
    match &plan.topics {
        TopicsView::Conflict(text) | TopicsView::PartitionsChanged(text) | TopicsView::Recreated(text) => {
            why.push(text.clone());
        }
        TopicsView::Ready | TopicsView::Creating(_) | TopicsView::Unavailable(_) => {}
    }
    if let TablesView::NotReady(problem) = &plan.tables
        && plan.actions.is_empty()
    {
        why.push(problem.message.clone());
    }
    if let RelayView::Unrenderable(text) = &plan.relay {
        why.push(text.clone());
    }
    if let ConnectorView::Foreign(owner) = &plan.connector {
        why.push(format!(
            "the connector exists and is not this pipeline's ({owner:?}): it is left alone"
        ));
    }
    why
}

async fn look(
    valid: &table::validate::Valid,
    refs: &table::dereference::Referenced,
    context: &Context,
) -> BackendResult<Live> {
    let client = table::dereference::client(refs, context)?;
    table::dereference::live(valid, &client).await
}

/// The statements between a table and its spec; what StarRocks does not tell is unknown.
async fn align(child: &StarRocksTable, context: &Context, report: &mut Report) -> Result<(), Failure> {
    let name = child.name_any();
    let refs = table::dereference::dereference(child, context).await?;
    let valid = match table::validate::validate(child, &refs) {
        Ok(valid) => valid,
        Err(refused) => {
            report.unknown.push(format!(
                "StarRocksTable {name}: {}: {}",
                refused.reason, refused.message
            ));
            return Ok(());
        }
    };
    let live = match look(&valid, &refs, context).await {
        Ok(live) => live,
        Err(error) => {
            report
                .unknown
                .push(format!("table {}, seen from here: {error}", valid.desired.name));
            return Ok(());
        }
    };
    match table::plan::plan(&valid, &live) {
        Outcome::Planned(planned) => {
            report.steps.extend(planned.actions.iter().map(Step::statement));
            let drift = planned
                .difference
                .map(|told| format!("table {}: {}", valid.desired.name, told.text));
            report.assumed.extend(drift);
        }
        Outcome::Refused(refusal) => report.unknown.push(format!("StarRocksTable {name}: {refusal}")),
        Outcome::Failed(error) | Outcome::Unavailable(error) => {
            report.unknown.push(format!("StarRocksTable {name}: {error}"));
        }
    }
    Ok(())
}

/// The accepted pipeline of the files, for `explain`.
pub(crate) fn accepted(files: &Files, of: &Arc<TenantPipeline>) -> Result<Accepted, String> {
    let (refs, _) = files.pipeline_refs(of);
    if refs.platform.is_none() {
        return Err("its DataPlatform is not among the files: add its file with another -f".to_owned());
    }
    validate(of, &refs).map_err(|r| format!("{}: {}", r.reason, r.message))
}

/// The accepted pipeline of a cluster, for `explain`.
pub(crate) async fn accepted_live(
    client: &Client,
    namespace: &str,
    name: &str,
    relay_image: &str,
) -> Result<Accepted, Failure> {
    let cluster = cluster::read(client, namespace, name, relay_image).await?;
    let refs = pipeline::dereference::dereference(&cluster.pipeline, &cluster.context).await?;
    validate(&cluster.pipeline, &refs).map_err(|r| format!("{}: {}", r.reason, r.message).into())
}
