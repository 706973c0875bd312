//! The difference between the wanted and the live table, as statements.

use tributary_crds::status::TableReason as R;

use super::ddl::plan::{PlanInput, owner_mark};
use super::ddl::{self, ChangeClass, DdlAction, Difference, Refusal, Statement};
use super::dereference::Live;
use super::jobs::{self, Turn};
use super::validate::Valid;
use crate::backend::BackendError;
use crate::backend::starrocks::LiveTable;
use crate::guard::Guard;

/// What is to be said about a table.
#[derive(Debug)]
pub enum Outcome {
    Planned(Planned),
    /// Nothing may be done.
    Refused(Refusal),
    /// A statement was not carried out.
    Failed(BackendError),
    /// The cluster could not be asked.
    Unavailable(BackendError),
}

impl Outcome {
    /// Whether there is something to grant privileges on.
    pub fn serves(&self) -> bool {
        matches!(self, Self::Planned(planned) if planned.exists && planned.actions.is_empty())
    }
}

#[derive(Debug)]
pub struct Planned {
    pub actions: Vec<DdlAction>,
    pub exists: bool,
    /// Columns of the live table, system columns aside.
    pub live_columns: Option<usize>,
    /// Declared columns that are there: a mapping may name them (rule 18).
    pub verified: Vec<String>,
    /// Declared columns that were there and are gone. Not forgotten: they would be added again, empty, as if they had never
    /// been there.
    pub taken_away: Vec<String>,
    /// Columns that are not there yet, when their ALTER TABLE cannot be sent now, and why.
    pub waiting: Option<Waiting>,
    /// What is otherwise than asked, and will not be changed by itself.
    pub difference: Option<Told>,
    /// Rows of the declared shape would not land, or would lose values.
    pub blocks_loads: bool,
}

#[derive(Debug)]
pub struct Waiting {
    pub columns: Vec<String>,
    pub turn: Turn,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub reason: R,
    pub text: String,
}

pub fn plan(valid: &Valid, live: &Live) -> Outcome {
    let input = PlanInput {
        desired: &valid.desired,
        owner_mark: &valid.owner_mark,
        adoption: valid.adoption,
        drift: valid.drift,
        seen: &valid.seen,
        version: live.version,
        database_exists: live.database_exists,
        live: live.table.as_ref(),
    };
    let plan = match ddl::plan(&input) {
        Ok(plan) => plan,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let (mut actions, waiting) = paced(plan.actions, live);
    match view(valid, live) {
        Ok(statement) => actions.extend(statement),
        Err(refusal) => return Outcome::Refused(refusal),
    }
    let verified = live
        .table
        .as_ref()
        .map_or_else(Vec::new, |table| verified(valid, table));
    let declared = valid.desired.columns.iter().map(|c| &c.name);
    let taken_away = declared.filter(|c| valid.seen.contains(*c) && !verified.contains(*c));
    Outcome::Planned(Planned {
        taken_away: taken_away.cloned().collect(),
        difference: told(&plan.differences, valid.edited),
        blocks_loads: plan.differences.iter().any(Difference::blocks_loads),
        verified,
        actions,
        waiting,
        exists: live.table.is_some(),
        live_columns: live
            .table
            .as_ref()
            .map(|t| t.columns.iter().filter(|c| !is_system(&c.name)).count()),
    })
}

/// One ALTER TABLE at a time: while a job runs or was just cancelled, columns wait.
fn paced(actions: Vec<DdlAction>, live: &Live) -> (Vec<DdlAction>, Option<Waiting>) {
    let turn = jobs::turn(&live.jobs, live.clock);
    // Rule 20.
    if turn == Turn::Send || !Guard::OneOperation.holds() {
        return (actions, None);
    }
    let (adding, rest): (Vec<_>, Vec<_>) = actions
        .into_iter()
        .partition(|a| matches!(a, Statement::AddColumns { .. }));
    let columns: Vec<String> = adding
        .iter()
        .flat_map(|a| match a {
            Statement::AddColumns { columns, .. } => columns.as_slice(),
            _ => &[],
        })
        .map(|c| c.name.clone())
        .collect();
    let waiting = (!columns.is_empty()).then_some(Waiting { columns, turn });
    (rest, waiting)
}

/// The view is derived and holds nothing: whatever happened to it, it is made again. It shows what the table has.
fn view(valid: &Valid, live: &Live) -> Result<Option<DdlAction>, Refusal> {
    let Some(wanted) = &valid.view else {
        return Ok(None);
    };
    let mut wanted = wanted.clone();
    if let Some(table) = &live.table {
        wanted.columns.retain(|c| table.column(c).is_some());
    }
    let Some(found) = &live.view else {
        return Ok(Some(Statement::CreateView(wanted)));
    };
    let owner = owner_mark(&found.comment);
    if found.definition.is_none() || owner != Some(&valid.owner_mark) {
        return Err(Refusal::NameTaken {
            view: wanted.name,
            what: match (&found.definition, owner) {
                (None, _) => "a table: deletes is fixed at creation, choose another name".to_owned(),
                (Some(_), Some(owner)) => format!("a view of {owner}"),
                (Some(_), None) => "a view that bears no mark".to_owned(),
            },
        });
    }
    let same = found.columns == wanted.columns
        && found
            .definition
            .as_ref()
            .is_some_and(|d| d.contains(tributary_crds::relay::DELETED_COLUMN));
    Ok((!same).then_some(Statement::ReplaceView(wanted)))
}

/// One sentence for all differences. An edit of the spec that cannot be made in place waits for somebody's decision; the same
/// difference without an edit is somebody's change of the table.
fn told(differences: &[Difference], edited: bool) -> Option<Told> {
    let class = differences.iter().map(Difference::class).max()?;
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let text = texts.join("; ");
    Some(match (edited, class) {
        (false, _) => Told {
            reason: R::LiveDrift,
            text: format!("differs from the spec and is left alone: {text}."),
        },
        (true, ChangeClass::Refused) => Told {
            reason: R::DDLRefused,
            text: format!(
                "cannot follow the edited spec: {text}. StarRocks has no statement for it: edit the spec back, or make another table."
            ),
        },
        (true, class) => Told {
            reason: R::AwaitingApproval,
            text: format!(
                "does not follow the edited spec: {text}. A change of class {class:?} needs an approved SchemaChange, and this version makes none yet: edit the spec back, or make another table; until then everything goes on as before."
            ),
        },
    })
}

fn verified(valid: &Valid, live: &LiveTable) -> Vec<String> {
    let declared = valid.desired.columns.iter().filter(|c| !is_system(&c.name));
    declared
        .filter(|c| live.column(&c.name).is_some_and(|found| !found.generated))
        .map(|c| c.name.clone())
        .collect()
}

fn is_system(column: &str) -> bool {
    use tributary_crds::relay::{DELETED_COLUMN, EXTRA_COLUMN, VER_COLUMN};
    [VER_COLUMN, EXTRA_COLUMN, DELETED_COLUMN].contains(&column)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
