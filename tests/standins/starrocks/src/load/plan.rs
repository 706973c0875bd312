//! The plan of one load: which source field feeds which column. Made before the body, so its refusals cost no 100.

use jiff::tz::TimeZone;

use super::headers::{Format, LoadHeaders};
use crate::table::schema::{Column, DefaultValue, TableDef, TableModel};
use crate::table::value::{Value, micros_of};

#[derive(Debug)]
pub struct LoadPlan {
    /// The table's columns as they were when the load was planned.
    pub columns: Vec<Column>,
    pub key_count: usize,
    pub width: usize,
    /// Where each table column comes from, in table order.
    pub sources: Vec<Source>,
    /// How many source fields a CSV line has; `None` for JSON.
    pub field_count: Option<usize>,
    pub op: OpSource,
    pub strict: bool,
    pub zone: TimeZone,
    pub merge_condition: Option<usize>,
    pub partial: Option<Vec<usize>>,
    /// Jobs that had replaced the table's tablets by then.
    pub rewrites: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A JSON key or, for CSV and jsonpaths, the position in the source list.
    Field {
        name: String,
        at: usize,
    },
    /// Not in the `columns` header: the column's default.
    Default(Value),
    CurrentTimestamp,
    /// Not written by a partial update.
    Untouched,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OpSource {
    /// Every row is an upsert.
    None,
    Field {
        name: String,
        at: usize,
    },
}

pub const OP_COLUMN: &str = "__op";

impl LoadPlan {
    pub fn new(def: &TableDef, headers: &LoadHeaders) -> Result<Self, String> {
        let zone = parse_zone(&headers.timezone)?;
        let names = source_names(def, headers);
        let partial = headers.partial_update;
        if partial && def.model != TableModel::Primary {
            return Err("Only primary key table support partial update".into());
        }
        let mut sources = Vec::with_capacity(def.columns.len());
        for column in &def.columns {
            let listed = names.iter().position(|n| n.eq_ignore_ascii_case(&column.name));
            sources.push(match listed {
                Some(at) => Source::Field {
                    name: names[at].clone(),
                    at,
                },
                None if partial && def.is_key(&column.name) => {
                    return Err(format!(
                        "partial update missing primary key column: {}",
                        column.name
                    ));
                }
                None if partial => Source::Untouched,
                None => default_source(column)?,
            });
        }
        let partial = partial.then(|| {
            let written = def
                .columns
                .iter()
                .zip(&sources)
                .filter(|(_, s)| **s != Source::Untouched);
            written.map(|(c, _)| c.slot).collect()
        });
        Ok(Self {
            columns: def.columns.clone(),
            key_count: def.key_count,
            width: def.next_slot,
            sources,
            field_count: (headers.format == Format::Csv).then_some(names.len()),
            op: op_source(def, headers, &names),
            strict: headers.strict_mode,
            zone,
            merge_condition: merge_condition(def, headers)?,
            partial,
            rewrites: def.rewrites,
        })
    }
}

/// Source fields in order: the `columns` header, else all columns of the table.
fn source_names(def: &TableDef, headers: &LoadHeaders) -> Vec<String> {
    match &headers.columns {
        Some(names) => names.clone(),
        None => def.columns.iter().map(|c| c.name.clone()).collect(),
    }
}

fn op_source(def: &TableDef, headers: &LoadHeaders, names: &[String]) -> OpSource {
    if def.model != TableModel::Primary {
        return OpSource::None;
    }
    match names.iter().position(|n| n == OP_COLUMN) {
        Some(at) => OpSource::Field {
            name: OP_COLUMN.into(),
            at,
        },
        // JSON without `columns` and without positions finds the key by itself.
        None if headers.format == Format::Json
            && headers.columns.is_none()
            && headers.jsonpaths.is_none() =>
        {
            OpSource::Field {
                name: OP_COLUMN.into(),
                at: usize::MAX,
            }
        }
        None => OpSource::None,
    }
}

fn default_source(column: &Column) -> Result<Source, String> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => Ok(Source::Default(super::convert::from_text(
            &column.ty,
            &column.name,
            text,
            &TimeZone::UTC,
        )?)),
        Some(DefaultValue::CurrentTimestamp) => Ok(Source::CurrentTimestamp),
        Some(DefaultValue::Function(f)) => Err(format!(
            "the stand-in does not evaluate the default {f} of column {}",
            column.name
        )),
        None if column.nullable => Ok(Source::Default(Value::Null)),
        None => Err(format!("Column has no default value. column: {}", column.name)),
    }
}

fn merge_condition(def: &TableDef, headers: &LoadHeaders) -> Result<Option<usize>, String> {
    let Some(name) = &headers.merge_condition else {
        return Ok(None);
    };
    if def.model != TableModel::Primary {
        return Err("Conditional update only support primary key table".into());
    }
    let column = def
        .column(name)
        .ok_or_else(|| format!("Merge condition column {name} does not exist"))?;
    if def.is_key(name) {
        return Err(format!("Merge condition column {name} should not be primary key"));
    }
    if !column.ty.allowed_as_merge_condition() {
        return Err(format!(
            "Merge condition column {name} with type {} is not supported",
            column.ty
        ));
    }
    Ok(Some(column.slot))
}

fn parse_zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("utc") || name == "CST" {
        return Ok(if name == "CST" {
            TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC)
        } else {
            TimeZone::UTC
        });
    }
    if let Some(offset) = parse_offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| format!("Unknown or incorrect time zone: '{name}'"))
}

fn parse_offset(name: &str) -> Option<jiff::tz::Offset> {
    let (sign, rest) = match name.as_bytes().first()? {
        b'+' => (1, &name[1..]),
        b'-' => (-1, &name[1..]),
        _ => return None,
    };
    let (h, m) = rest.split_once(':')?;
    let seconds = h.parse::<i32>().ok()? * 3600 + m.parse::<i32>().ok()? * 60;
    jiff::tz::Offset::from_seconds(sign * seconds).ok()
}

pub fn now_in(zone: &TimeZone) -> Value {
    let now = jiff::Timestamp::now().to_zoned(zone.clone()).datetime();
    Value::DateTime(micros_of(now).div_euclid(1_000_000) * 1_000_000)
}
