//! ALTER TABLE on the definition: what the table becomes, and whether that is metadata only or a job.

use jiff::tz::TimeZone;

use super::ast::{AlterClause, ColumnSpec, Position};
use super::error::SqlError;
use super::rules;
use crate::jobs::Change;
use crate::load::convert;
use crate::table::schema::TableDef;
use crate::table::store::TableState;
use crate::table::types::ColumnType;
use crate::table::value::Value;

/// Cells that must become another type: slot, old type, new type.
pub type Rewrite = (usize, ColumnType, ColumnType);

/// What a batch of clauses did.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Changed {
    /// Not a change of metadata alone: a job. The whole statement is fast only if every clause is.
    pub slow: bool,
    /// A schema change leaves a FINISHED row in SHOW ALTER TABLE COLUMN; comments and properties leave none.
    pub schema: bool,
    pub rewrite: Vec<Rewrite>,
    /// Seconds the job may take.
    pub timeout: Option<u64>,
}

/// Applies the clauses that concern one definition. Nothing is changed when one of them is refused.
pub fn apply(def: &TableDef, clauses: &[AlterClause]) -> Result<(TableDef, Changed), SqlError> {
    let mut def = def.clone();
    let mut changed = Changed::default();
    for clause in clauses {
        match clause {
            AlterClause::AddColumn { column, position } => {
                changed.slow |= !def.fast_schema_evolution();
                add(&mut def, column, position.as_ref())?;
                changed.schema = true;
            }
            AlterClause::DropColumn(name) => {
                changed.slow |= !def.fast_schema_evolution();
                drop_column(&mut def, name)?;
                changed.schema = true;
            }
            AlterClause::ModifyColumn { column, position } => {
                modify(&mut def, column, position.as_ref(), &mut changed)?
            }
            AlterClause::ModifyComment { column, comment } => {
                let at = position_of(&def, column)?;
                def.columns[at].comment.clone_from(comment);
            }
            AlterClause::RenameColumn { from, to } => rename(&mut def, from, to)?,
            AlterClause::Comment(comment) => def.comment.clone_from(comment),
            AlterClause::SetProperties(properties) => {
                for (key, value) in properties {
                    if key == "fast_schema_evolution" {
                        return Err(SqlError::analysis(
                            "Property fast_schema_evolution cannot be altered",
                        ));
                    }
                    def.properties.insert(key.clone(), value.clone());
                }
            }
            AlterClause::Timeout(seconds) => changed.timeout = Some(*seconds),
            AlterClause::Unsupported(class) => {
                return Err(SqlError::analysis(format!(
                    "the stand-in does not implement {class}"
                )));
            }
            AlterClause::RenameTable(_) | AlterClause::SwapWith(_) => {
                return Err(SqlError::analysis("Conflicting alter clauses"));
            }
        }
    }
    Ok((def, changed))
}

fn position_of(def: &TableDef, name: &str) -> Result<usize, SqlError> {
    def.position(name)
        .ok_or_else(|| SqlError::analysis(format!("Column does not exists: {name}")))
}

fn add(def: &mut TableDef, spec: &ColumnSpec, position: Option<&Position>) -> Result<(), SqlError> {
    rules::check_column_name(&spec.name)?;
    if def.column(&spec.name).is_some() {
        return Err(rules::duplicate_column(&spec.name));
    }
    if def.burnt_names.iter().any(|n| n.eq_ignore_ascii_case(&spec.name)) {
        return Err(SqlError::analysis(format!(
            "Column name [{}] already exists in column id",
            spec.name
        )));
    }
    if spec.nullable == Some(false) && spec.default.is_none() {
        return Err(SqlError::analysis(format!(
            "Column {} is NOT NULL and has no default value",
            spec.name
        )));
    }
    if matches!(
        spec.default,
        Some(crate::table::schema::DefaultValue::Function(_))
    ) {
        return Err(SqlError::analysis("unsupported default expr"));
    }
    let column = rules::column(spec, def.next_slot, false)?;
    let at = place(def, position)?;
    def.next_slot += 1;
    def.columns.insert(at, column);
    Ok(())
}

fn place(def: &TableDef, position: Option<&Position>) -> Result<usize, SqlError> {
    match position {
        None => Ok(def.columns.len()),
        Some(Position::First) => Err(SqlError::analysis("Can not add value column before key column")),
        Some(Position::After(name)) => {
            let at = position_of(def, name)? + 1;
            if at < def.key_count {
                Err(SqlError::analysis("Can not add value column before key column"))
            } else {
                Ok(at)
            }
        }
    }
}

fn drop_column(def: &mut TableDef, name: &str) -> Result<(), SqlError> {
    let at = position_of(def, name)?;
    if at < def.key_count {
        return Err(SqlError::analysis(format!(
            "Can not drop key column {name} in primary data model table"
        )));
    }
    if def.sort_key.iter().any(|k| k.eq_ignore_ascii_case(name)) {
        return Err(SqlError::analysis(format!(
            "Can not drop sort column {name} in primary data model table"
        )));
    }
    def.columns.remove(at);
    for index in &mut def.indexes {
        index.columns.retain(|c| !c.eq_ignore_ascii_case(name));
    }
    def.indexes.retain(|index| !index.columns.is_empty());
    Ok(())
}

/// In a shared-nothing cluster a change of type or nullability is an asynchronous rewrite.
fn modify(
    def: &mut TableDef,
    spec: &ColumnSpec,
    position: Option<&Position>,
    changed: &mut Changed,
) -> Result<(), SqlError> {
    let at = position_of(def, &spec.name)?;
    if at < def.key_count {
        return Err(SqlError::analysis(format!(
            "Can not modify key column {} for primary key table",
            spec.name
        )));
    }
    if def.sort_key.iter().any(|k| k.eq_ignore_ascii_case(&spec.name)) {
        return Err(SqlError::analysis(format!(
            "Can not modify sort column {} for primary key table",
            spec.name
        )));
    }
    let old = &def.columns[at];
    old.ty.can_change_to(&spec.ty).map_err(SqlError::analysis)?;
    if old.nullable && spec.nullable == Some(false) {
        return Err(SqlError::analysis("Can't change nullable to not nullable"));
    }
    if old.default != spec.default {
        return Err(SqlError::analysis(format!(
            "Can not change default value of column {}",
            spec.name
        )));
    }
    if position.is_some() {
        return Err(SqlError::analysis(
            "Primary key table do not support reorder table schema",
        ));
    }
    let nullable = spec.nullable.unwrap_or(true);
    if old.ty != spec.ty {
        changed.rewrite.push((old.slot, old.ty.clone(), spec.ty.clone()));
    }
    let rewritten = old.ty != spec.ty || old.nullable != nullable;
    changed.schema |= rewritten;
    changed.slow |= rewritten;
    let column = &mut def.columns[at];
    column.ty = spec.ty.clone();
    column.nullable = nullable;
    column.comment.clone_from(&spec.comment);
    Ok(())
}

fn rename(def: &mut TableDef, from: &str, to: &str) -> Result<(), SqlError> {
    let at = position_of(def, from)?;
    rules::check_column_name(to)?;
    if def.column(to).is_some() {
        return Err(SqlError::analysis(format!("Column name[{to}] is already used")));
    }
    let old = std::mem::replace(&mut def.columns[at].name, to.to_owned());
    def.burnt_names.retain(|n| !n.eq_ignore_ascii_case(to));
    def.burnt_names.push(old);
    for names in [
        &mut def.distribution,
        &mut def.sort_key,
        &mut def.partition_columns,
    ] {
        for name in names.iter_mut().filter(|n| n.eq_ignore_ascii_case(from)) {
            to.clone_into(name);
        }
    }
    Ok(())
}

/// The end of a job: the rows, waiting versions included, become what the new definition says, in new tablets.
pub fn finish(state: &mut TableState, change: &Change) {
    let mut def = change.def.clone();
    for (slot, from, to) in &change.rewrite {
        let scale = if let ColumnType::Decimal { scale, .. } = from {
            *scale
        } else {
            0
        };
        let converted = |cell: &Value| match cell {
            Value::Null => Value::Null,
            cell => convert::from_text(to, "", &cell.render(scale), &TimeZone::UTC).unwrap_or(Value::Null),
        };
        state.rewrite(*slot, converted);
        for column in def.columns.iter_mut().filter(|c| c.slot == *slot) {
            column.backfill = converted(&column.backfill);
        }
    }
    def.rewrites += 1;
    state.def = def;
    state.epoch += 1;
}
