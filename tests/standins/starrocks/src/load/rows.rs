//! Body to write set: every row converted, bad ones filtered with a line for the error log.

use std::fmt::Write as _;

use super::convert;
use super::headers::{Format, LoadHeaders};
use super::json::{self, Object};
use super::plan::{LoadPlan, OpSource, Source, now_in};
use crate::table::key::{self, PRIMARY_KEY_LIMIT};
use crate::table::store::{Write, WriteSet};
use crate::table::value::Value;

#[derive(Debug, Default)]
pub struct Converted {
    pub set: WriteSet,
    pub total: u64,
    pub filtered: u64,
    /// Text of the error log, bounded.
    pub errors: String,
    /// Rows that hold this text are bad rows, by order of a fault.
    rejected: Option<String>,
}

/// The BE keeps the first lines of the error log only.
const ERROR_LOG_LINES: u64 = 50;

/// One source row, by name or by position.
enum Fields<'a> {
    Json(&'a Object<'a>),
    Paths(&'a Object<'a>, &'a [Option<String>]),
    Csv(&'a [Option<&'a str>]),
}

pub fn convert_body(
    plan: &LoadPlan,
    headers: &LoadHeaders,
    body: &[u8],
    primary: bool,
    rejected: Option<&str>,
) -> Result<Converted, String> {
    let body = std::str::from_utf8(body).map_err(|e| format!("Failed to parse body as UTF-8: {e}"))?;
    let mut out = Converted {
        set: WriteSet {
            writes: Vec::new(),
            merge_condition: plan.merge_condition,
            partial: plan.partial.clone(),
        },
        rejected: rejected.map(str::to_owned),
        ..Converted::default()
    };
    match headers.format {
        Format::Json => {
            for row in json::rows(body, headers.strip_outer_array, headers.json_root.as_deref()) {
                match row {
                    Ok(object) => json_row(plan, headers, &object, primary, &mut out)?,
                    Err(error) => out.filter(&error, ""),
                }
            }
        }
        Format::Csv => {
            for line in super::csv::rows(body, headers) {
                csv_row(plan, &line, primary, &mut out)?;
            }
        }
    }
    Ok(out)
}

fn json_row(
    plan: &LoadPlan,
    headers: &LoadHeaders,
    object: &Object<'_>,
    primary: bool,
    out: &mut Converted,
) -> Result<(), String> {
    match &headers.jsonpaths {
        None => out.push(plan, &Fields::Json(object), primary),
        Some(paths) => {
            let values: Vec<Option<String>> = paths.iter().map(|p| path_value(object, p)).collect();
            out.push(plan, &Fields::Paths(object, &values), primary)
        }
    }
}

fn path_value(object: &Object<'_>, path: &str) -> Option<String> {
    let path = path.trim().strip_prefix('$').unwrap_or(path);
    let path = path.strip_prefix('.').unwrap_or(path);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let inside = object.get(path[..end].trim_matches('"'))?;
    json::at_path(inside, &path[end..]).map(str::to_owned)
}

fn csv_row(plan: &LoadPlan, line: &[Option<&str>], primary: bool, out: &mut Converted) -> Result<(), String> {
    let expected = plan.field_count.unwrap_or(line.len());
    if line.len() != expected {
        out.filter(
            &format!(
                "Value count does not match column count: expected = {expected}, actual = {}",
                line.len()
            ),
            &render_csv(line),
        );
        return Ok(());
    }
    out.push(plan, &Fields::Csv(line), primary)
}

fn render_csv(line: &[Option<&str>]) -> String {
    line.iter()
        .map(|f| f.unwrap_or("\\N"))
        .collect::<Vec<_>>()
        .join("\t")
}

impl Fields<'_> {
    fn convert(&self, plan: &LoadPlan, i: usize, name: &str, at: usize) -> Result<Value, String> {
        let ty = &plan.columns[i].ty;
        match self {
            Self::Json(object) => match object.get(name) {
                Some(raw) => convert::from_json(ty, name, raw, &plan.zone),
                None => Ok(Value::Null),
            },
            Self::Paths(_, values) => match values.get(at).and_then(Option::as_deref) {
                Some(raw) => convert::from_json(ty, name, raw, &plan.zone),
                None => Ok(Value::Null),
            },
            Self::Csv(line) => match line.get(at).copied().flatten() {
                Some(text) => convert::from_text(ty, name, text, &plan.zone),
                None => Ok(Value::Null),
            },
        }
    }

    fn raw_op(&self, name: &str, at: usize) -> Option<String> {
        match self {
            Self::Json(object) => object.get(name).map(str::to_owned),
            Self::Paths(object, values) => match values.get(at) {
                Some(value) => value.clone(),
                None => object.get(name).map(str::to_owned),
            },
            Self::Csv(line) => line.get(at).copied().flatten().map(str::to_owned),
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Json(object) | Self::Paths(object, _) => {
                let mut out = String::from("{");
                for (i, (k, v)) in object.entries().enumerate() {
                    let _ = write!(out, "{}\"{k}\":{v}", if i > 0 { "," } else { "" });
                }
                out.push('}');
                out
            }
            Self::Csv(line) => render_csv(line),
        }
    }
}

impl Converted {
    fn filter(&mut self, error: &str, row: &str) {
        self.total += 1;
        self.filtered += 1;
        if self.filtered <= ERROR_LOG_LINES {
            let _ = writeln!(self.errors, "Error: {error}. Row: {row}");
        }
    }

    /// `Err` fails the whole load; a bad row is only filtered.
    fn push(&mut self, plan: &LoadPlan, fields: &Fields<'_>, primary: bool) -> Result<(), String> {
        if let Some(text) = &self.rejected
            && fields.render().contains(text.as_str())
        {
            let error = format!("Value is refused by order of a fault, contains: {text}");
            self.filter(&error, &fields.render());
            return Ok(());
        }
        let (row, delete) = match build(plan, fields) {
            Ok(built) => built,
            Err(error) => {
                self.filter(&error, &fields.render());
                return Ok(());
            }
        };
        if primary && key::encode(&plan.columns[..plan.key_count], &row).len() > PRIMARY_KEY_LIMIT {
            return Err("Cancelled: primary key size exceed the limit.".into());
        }
        if delete && let Some(slot) = plan.merge_condition {
            let column = plan
                .columns
                .iter()
                .find(|c| c.slot == slot)
                .map_or("", |c| c.name.as_str());
            return Err(format!(
                "memtable of tablet {{}} delete with condition column {column}"
            ));
        }
        self.total += 1;
        self.set.writes.push(if delete {
            Write::Delete(row)
        } else {
            Write::Upsert(row.into())
        });
        Ok(())
    }
}

fn build(plan: &LoadPlan, fields: &Fields<'_>) -> Result<(Box<[Value]>, bool), String> {
    let mut row = vec![Value::Null; plan.width];
    for (i, (column, source)) in plan.columns.iter().zip(&plan.sources).enumerate() {
        let value = match source {
            Source::Field { name, at } => match fields.convert(plan, i, name, *at) {
                Ok(value) => value,
                Err(error) if plan.strict => return Err(error),
                // Non-strict: what cannot be converted becomes NULL, and the load a Success.
                Err(_) => Value::Null,
            },
            Source::Default(value) => value.clone(),
            Source::CurrentTimestamp => now_in(&plan.zone),
            Source::Untouched => continue,
        };
        if value.is_null() && !column.nullable {
            return Err(format!("NULL value in non-nullable column '{}'", column.name));
        }
        row[column.slot] = value;
    }
    let delete = match &plan.op {
        OpSource::None => false,
        OpSource::Field { name, at } => parse_op(fields.raw_op(name, *at).as_deref())?,
    };
    Ok((row.into(), delete))
}

fn parse_op(raw: Option<&str>) -> Result<bool, String> {
    match raw
        .map(|r| r.trim().trim_matches('"').to_ascii_lowercase())
        .as_deref()
    {
        None | Some("null" | "0" | "upsert") => Ok(false),
        Some("1" | "delete") => Ok(true),
        Some(other) => Err(format!("Invalid __op value: {other}")),
    }
}
