//! From a live table to the wanted one: statements where the way is additive and cheap, findings everywhere else. Pure.

use std::collections::BTreeSet;

use tributary_crds::template::{Adoption, Drift};

use super::check::{self, Violation};
use super::difference::Difference;
use super::statement::{ColumnDef, CreateTable, Statement, TableName};
use super::version::Version;
use crate::backend::starrocks::{LiveColumn, LiveTable};

/// Words of a comment that start so are owner marks: `tributary:<ownerID>/<namespace>/<name>`.
pub const OWNER_MARK_PREFIX: &str = "tributary:";
/// `TABLE_MODEL` of a primary-key table.
const PRIMARY_KEYS: &str = "PRIMARY_KEYS";

/// A statement to run. Controller, dry run and command line share the list.
pub type DdlAction = Statement;

/// Everything a plan depends on.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The wanted table, comment included (see [`with_owner_mark`]).
    pub desired: &'a CreateTable,
    /// `tributary:<ownerID>/<namespace>/<name>`.
    pub owner_mark: &'a str,
    pub adoption: Adoption,
    pub drift: Drift,
    /// Columns that this table was seen to have before, under our mark.
    pub seen: &'a BTreeSet<String>,
    pub version: Version,
    pub database_exists: bool,
    /// `None`: the table does not exist.
    pub live: Option<&'a LiveTable>,
}

/// What to run, and what is not as wanted but will not be changed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<DdlAction>,
    /// `InSync=False` with these texts.
    pub differences: Vec<Difference>,
}

impl Plan {
    pub fn is_in_sync(&self) -> bool {
        self.actions.is_empty() && self.differences.is_empty()
    }

    /// One sentence naming every difference; `None` without any.
    pub fn difference_text(&self) -> Option<String> {
        let texts: Vec<String> = self.differences.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// Why nothing may be done at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `TableConflict`.
    #[error("{table} belongs to {owner}")]
    OwnedByOther { table: TableName, owner: String },
    /// `TableConflict`.
    #[error("{table} exists, nobody marked it as theirs, and adoption is {adoption:?}: {why}")]
    NotAdopted {
        table: TableName,
        adoption: Adoption,
        why: String,
    },
    /// `TableConflict`: the name that readers would use.
    #[error("{view} should be a view and is {what}")]
    NameTaken { view: TableName, what: String },
    /// `DDLRefused`: StarRocks would refuse the statement, so it is not sent.
    #[error("StarRocks {version} would refuse to {summary}: {violation}")]
    Rule {
        version: Version,
        summary: String,
        violation: Violation,
    },
    /// `DDLRefused`.
    #[error("StarRocks {version} is older than {minimum}")]
    VersionTooOld { version: Version, minimum: Version },
    /// `LiveDrift`: rows are gone with it, so an empty one in its place would look healthy and be wrong.
    #[error(
        "{table} was there and is gone, and drift is Observe: bring it back (RECOVER TABLE), or set drift: Enforce for an empty one, which gets only changes from now on"
    )]
    Vanished { table: TableName },
}

/// A table comment with the owner mark as its last word.
pub fn with_owner_mark(comment: Option<&str>, mark: &str) -> String {
    match comment.map(str::trim).filter(|c| !c.is_empty()) {
        Some(comment) => format!("{comment} {mark}"),
        None => mark.to_owned(),
    }
}

/// The owner mark in a table comment.
pub fn owner_mark(comment: &str) -> Option<&str> {
    comment
        .split_whitespace()
        .rev()
        .find(|word| word.starts_with(OWNER_MARK_PREFIX))
}

/// The plan, or why there can be none. Every statement in it passes [`check::check`].
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, Refusal> {
    if input.version < Version::MINIMUM {
        return Err(Refusal::VersionTooOld {
            version: input.version,
            minimum: Version::MINIMUM,
        });
    }
    let mut plan = match input.live {
        None if !input.seen.is_empty() && input.drift == Drift::Observe => {
            return Err(Refusal::Vanished {
                table: input.desired.name.clone(),
            });
        }
        None => Plan {
            actions: vec![Statement::CreateTable(input.desired.clone())],
            differences: Vec::new(),
        },
        Some(live) => align(input, live)?,
    };
    if !input.database_exists && input.live.is_none() {
        let name = input.desired.name.database.clone();
        plan.actions.insert(0, Statement::CreateDatabase { name });
    }
    for action in &plan.actions {
        check::check(&action.to_string(), input.version).map_err(|violation| Refusal::Rule {
            version: input.version,
            summary: action.summary(),
            violation,
        })?;
    }
    Ok(plan)
}

fn align(input: &PlanInput<'_>, live: &LiveTable) -> Result<Plan, Refusal> {
    let table = &input.desired.name;
    let owner = owner_mark(&live.comment);
    if let Some(owner) = owner.filter(|o| *o != input.owner_mark) {
        return Err(Refusal::OwnedByOther {
            table: table.clone(),
            owner: owner.to_owned(),
        });
    }
    // What an unmarked table lacks was never taken away from us.
    let seen = match (owner, input.drift) {
        (Some(_), Drift::Observe) => Some(input.seen),
        _ => None,
    };
    let mut plan = compare(input.desired, live, seen);
    if owner.is_none() {
        adopt(input, live, &mut plan)?;
    }
    Ok(plan)
}

/// An unmarked table becomes ours when the policy allows it; marking it comes first.
fn adopt(input: &PlanInput<'_>, live: &LiveTable, plan: &mut Plan) -> Result<(), Refusal> {
    let refuse = |why: String| Refusal::NotAdopted {
        table: input.desired.name.clone(),
        adoption: input.adoption,
        why,
    };
    let text = || {
        plan.difference_text()
            .unwrap_or_else(|| "columns are missing".into())
    };
    match input.adoption {
        Adoption::Never => return Err(refuse("remove it, or choose another name".into())),
        Adoption::IfIdentical if !plan.is_in_sync() => return Err(refuse(text())),
        Adoption::IfCompatible if plan.differences.iter().any(|d| !d.is_harmless()) => {
            return Err(refuse(text()));
        }
        Adoption::IfIdentical | Adoption::IfCompatible => {}
    }
    let mark = Statement::SetTableComment {
        table: input.desired.name.clone(),
        comment: with_owner_mark(Some(&live.comment), input.owner_mark),
    };
    plan.actions.insert(0, mark);
    Ok(())
}

/// Column comments and defaults are written at creation and not compared. Missing columns that are in `seen` were taken away
/// and are only told.
fn compare(desired: &CreateTable, live: &LiveTable, seen: Option<&BTreeSet<String>>) -> Plan {
    let mut differences = shape(desired, live);
    let mut missing = Vec::new();
    for wanted in &desired.columns {
        match live.column(&wanted.name) {
            Some(column) => differences.extend(column_differences(wanted, column)),
            None if is_key(desired, wanted) => differences.push(Difference::MissingColumn {
                name: wanted.name.clone(),
                why: "key columns cannot be added",
            }),
            None if !wanted.nullable => differences.push(Difference::MissingColumn {
                name: wanted.name.clone(),
                why: "a NOT NULL column cannot be added to a table with rows",
            }),
            None => missing.push(wanted.clone()),
        }
    }
    let declared = |name: &str| {
        let same = |c: &ColumnDef| c.name.eq_ignore_ascii_case(name);
        desired.columns.iter().any(same)
    };
    let extra = live.columns.iter().filter(|c| !declared(&c.name));
    differences.extend(extra.map(|c| Difference::ExtraColumn {
        name: c.name.clone(),
        blocks_loads: !c.nullable && c.default.is_none() && !c.generated,
    }));

    let (taken, missing): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .partition(|c| seen.is_some_and(|seen| seen.contains(&c.name)));
    if !taken.is_empty() {
        let names = taken.into_iter().map(|c| c.name).collect();
        differences.push(Difference::TakenAway { names });
    }
    let mut actions = Vec::new();
    if !missing.is_empty() {
        actions.push(Statement::AddColumns {
            table: desired.name.clone(),
            columns: missing,
        });
    }
    Plan { actions, differences }
}

/// Everything but the columns. What the server does not report (an empty model, key or distribution) is not judged.
fn shape(desired: &CreateTable, live: &LiveTable) -> Vec<Difference> {
    let mut found = Vec::new();
    if !live.model.is_empty() && live.model != PRIMARY_KEYS {
        found.push(Difference::Model {
            live: live.model.clone(),
        });
    }
    let differ = |wanted: &[String], live: &[String]| {
        let same = |(a, b): (&String, &String)| a.eq_ignore_ascii_case(b);
        !live.is_empty() && (wanted.len() != live.len() || !wanted.iter().zip(live).all(same))
    };
    if differ(&desired.primary_key, &live.primary_key) {
        found.push(Difference::PrimaryKey {
            wanted: desired.primary_key.clone(),
            live: live.primary_key.clone(),
        });
    }
    if differ(&desired.distribute_by.columns, &live.distribute_key) {
        found.push(Difference::Distribution {
            wanted: desired.distribute_by.columns.clone(),
            live: live.distribute_key.clone(),
        });
    }
    if let Some(wanted) = desired
        .distribute_by
        .buckets
        .filter(|b| live.buckets != 0 && *b != live.buckets)
    {
        found.push(Difference::Buckets {
            wanted,
            live: live.buckets,
        });
    }
    let partition: Vec<String> = desired
        .partition_by
        .iter()
        .flat_map(|p| p.columns())
        .map(str::to_owned)
        .collect();
    // An expression partition is reported by its column or its expression, depending on the version.
    let mentions = |column: &String| live.partition_key.iter().any(|k| k.contains(column.as_str()));
    if partition.is_empty() != live.partition_key.is_empty() || !partition.iter().all(mentions) {
        found.push(Difference::Partition {
            wanted: partition,
            live: live.partition_key.clone(),
        });
    }
    let sort_key = if desired.order_by.is_empty() {
        &desired.primary_key
    } else {
        &desired.order_by
    };
    if differ(sort_key, &live.sort_key) {
        found.push(Difference::SortKey {
            wanted: sort_key.clone(),
            live: live.sort_key.clone(),
        });
    }
    found
}

fn column_differences(wanted: &ColumnDef, live: &LiveColumn) -> Vec<Difference> {
    let name = || wanted.name.clone();
    let mut found = Vec::new();
    if wanted.name != live.name {
        found.push(Difference::Spelling {
            wanted: name(),
            live: live.name.clone(),
        });
    }
    if live.generated {
        found.push(Difference::Generated { name: name() });
    }
    if live.column_type.as_ref() != Some(&wanted.column_type) {
        found.push(Difference::Type {
            name: name(),
            wanted: wanted.column_type.clone(),
            live: live.type_text.clone(),
        });
    }
    if live.nullable != wanted.nullable {
        found.push(Difference::Nullability {
            name: name(),
            wanted_nullable: wanted.nullable,
        });
    }
    found
}

fn is_key(desired: &CreateTable, column: &ColumnDef) -> bool {
    desired
        .primary_key
        .iter()
        .any(|k| k.eq_ignore_ascii_case(&column.name))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
