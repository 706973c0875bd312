//! The difference between the wanted and the live table, as statements.

use super::ddl::plan::PlanInput;
use super::ddl::{self, Adoption, DdlAction, Refusal};
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
            actions: plan.actions,
            exists: live.table.is_some(),
            live_columns: live
                .table
                .as_ref()
                .map(|t| t.columns.iter().filter(|c| !is_system(&c.name)).count()),
        }),
    }
}

fn is_system(column: &str) -> bool {
    use tributary_crds::relay::{EXTRA_COLUMN, VER_COLUMN};
    [VER_COLUMN, EXTRA_COLUMN].contains(&column)
}
