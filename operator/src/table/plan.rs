//! The difference between the wanted and the live table, as statements.

use super::ddl::plan::PlanInput;
use super::ddl::{self, Adoption, DdlAction, Difference, Refusal};
use super::dereference::Live;
use super::validate::Valid;
use crate::backend::BackendError;

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

#[derive(Debug)]
pub struct Planned {
    pub actions: Vec<DdlAction>,
    pub exists: bool,
    /// Columns of the live table, system columns aside.
    pub live_columns: Option<usize>,
    pub difference: Option<String>,
    /// Rows of the declared shape would not land, or would lose values.
    pub blocks_loads: bool,
}

pub fn plan(valid: &Valid, live: &Live) -> Outcome {
    let input = PlanInput {
        desired: &valid.desired,
        owner_mark: &valid.owner_mark,
        adoption: Adoption::IfIdentical,
        version: live.version,
        database_exists: live.database_exists,
        live: live.table.as_ref(),
    };
    match ddl::plan(&input) {
        Err(refusal) => Outcome::Refused(refusal),
        Ok(plan) => Outcome::Planned(Planned {
            difference: plan.difference_text(),
            blocks_loads: plan.differences.iter().any(blocks_loads),
            actions: plan.actions,
            exists: live.table.is_some(),
            live_columns: live
                .table
                .as_ref()
                .map(|t| t.columns.iter().filter(|c| !is_system(&c.name)).count()),
        }),
    }
}

/// StarRocks ignores values for columns it does not have, silently: a missing column must stop the mapping that names it.
fn blocks_loads(difference: &Difference) -> bool {
    match difference {
        Difference::Model { .. }
        | Difference::PrimaryKey { .. }
        | Difference::MissingColumn { .. }
        | Difference::SlowColumns { .. }
        | Difference::Generated { .. }
        | Difference::ExtraColumn {
            blocks_loads: true, ..
        } => true,
        Difference::ExtraColumn {
            blocks_loads: false, ..
        }
        | Difference::Distribution { .. }
        | Difference::Buckets { .. }
        | Difference::Partition { .. }
        | Difference::SortKey { .. }
        | Difference::Type { .. }
        | Difference::Nullability { .. }
        | Difference::Spelling { .. } => false,
    }
}

fn is_system(column: &str) -> bool {
    use tributary_crds::relay::{EXTRA_COLUMN, VER_COLUMN};
    [VER_COLUMN, EXTRA_COLUMN].contains(&column)
}
