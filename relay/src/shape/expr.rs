//! Expressions over a document: its text read when asked for, and results on their way into columns.

use std::borrow::Cow;

use tributary_crds::expr::{Documents, Env, EvalError, Meta, Program, Value, Variable};
use tributary_crds::relay::OnError;

use super::bson::{self, Bson};
use super::compile::ExprColumn;
use super::convert::{self, Converted};
use super::{Event, Refused, Scratch, Shaped};
use crate::json::{Cursor, JsonError, Kind, write_int, write_string};

/// Extended JSON as [`Value`]s.
struct Text;

fn broken(error: JsonError) -> EvalError {
    EvalError(format!("the document is not Extended JSON: {error}"))
}

impl Documents for Text {
    fn member<'a>(&self, object: &'a [u8], name: &str) -> Result<Option<Value<'a>>, EvalError> {
        let mut found = None;
        each_member(object, |member, value| {
            let wanted = found.is_none() && member == name.as_bytes();
            if wanted {
                found = Some(value);
            }
            !wanted
        })
        .map_err(broken)?;
        found.map(value).transpose()
    }

    fn members<'a>(&self, object: &'a [u8]) -> Result<Vec<(String, Value<'a>)>, EvalError> {
        let mut texts = Vec::new();
        each_member(object, |name, value| {
            texts.push((String::from_utf8_lossy(name).into_owned(), value));
            true
        })
        .map_err(broken)?;
        texts
            .into_iter()
            .map(|(name, text)| Ok((name, value(text)?)))
            .collect()
    }

    fn elements<'a>(&self, array: &'a [u8]) -> Result<Vec<Value<'a>>, EvalError> {
        let mut texts = Vec::new();
        each_element(array, |text| texts.push(text)).map_err(broken)?;
        texts.into_iter().map(value).collect()
    }
}

/// Calls with the text of each member until told to stop.
fn each_member<'a>(object: &'a [u8], mut take: impl FnMut(&[u8], &'a [u8]) -> bool) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(object);
    let mut more = cursor.open_object()?;
    while more {
        let name = cursor.name()?.value()?;
        if !take(&name, text_of(&mut cursor)?) {
            return Ok(());
        }
        more = cursor.next_member()?;
    }
    Ok(())
}

pub(super) fn each_element<'a>(array: &'a [u8], mut take: impl FnMut(&'a [u8])) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(array);
    let mut more = cursor.open_array()?;
    while more {
        take(text_of(&mut cursor)?);
        more = cursor.next_element()?;
    }
    Ok(())
}

/// The next value's text.
fn text_of<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], JsonError> {
    cursor.peek()?;
    let start = cursor.at();
    cursor.skip()?;
    Ok(cursor.slice(start, cursor.at()).bytes())
}

fn value(text: &[u8]) -> Result<Value<'_>, EvalError> {
    let plain = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let number = |digits| {
        let digits: &str = plain(digits);
        digits.parse().map(Value::Int).unwrap_or(Value::Null)
    };
    Ok(match bson::read(&mut Cursor::new(text)).map_err(broken)? {
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Bool(value) => Value::Bool(value),
        Bson::Int(digits) | Bson::Long(digits) => number(digits),
        Bson::Double(digits) => Value::Double(plain(digits).parse().unwrap_or(f64::NAN)),
        Bson::NonFinite(word) => Value::Double(word.parse().unwrap_or(f64::NAN)),
        Bson::Str(text) => Value::Str(match text.value().map_err(broken)? {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        }),
        Bson::Date(ms) => Value::Date(ms),
        Bson::Object => Value::Object(text),
        Bson::Array => Value::Array(text),
        other => Value::Opaque {
            kind: other.type_name(),
            text: match &other {
                Bson::ObjectId(hex) => plain(hex),
                Bson::Uuid(uuid) => plain(uuid),
                Bson::Decimal(digits) => plain(digits),
                _ => "",
            },
            raw: text,
        },
    })
}

/// The element an expression is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub element: &'a [u8],
    pub ordinal: i64,
}

fn eval<'a>(program: &'a Program, event: &Event<'a>, at: Option<At<'a>>) -> Result<Value<'a>, EvalError> {
    let variable = |variable: Variable| {
        Ok(match variable {
            Variable::Doc => value(event.document.bytes())?,
            Variable::Key => value(event.key)?,
            Variable::Element => at.map_or(Ok(Value::Null), |at| value(at.element))?,
            Variable::Meta(meta) => match meta {
                Meta::Tenant => Value::Str(event.tenant.into()),
                Meta::Dataset => Value::Str(event.dataset.into()),
                Meta::Op => Value::Str(event.op.code().into()),
                Meta::SourceTs => event.source_ts_ms.map_or(Value::Null, Value::Date),
                Meta::Topic => Value::Str(event.topic.into()),
                Meta::Partition => Value::Int(i64::from(event.partition)),
                Meta::Offset => Value::Int(event.offset),
                Meta::Ordinal => at.map_or(Value::Null, |at| Value::Int(at.ordinal)),
            },
        })
    };
    program.eval(&Env {
        documents: &Text,
        variable: &variable,
    })
}

/// Whether a document belongs into the table: only `true` says so.
pub(super) fn holds(filter: &Program, event: &Event<'_>) -> Result<bool, Refused> {
    match eval(filter, event, None) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(Value::Null) => Ok(false),
        Ok(other) => Err(Refused::Filter {
            why: format!("it gave a {}, not true or false", other.type_name()),
        }),
        Err(error) => Err(Refused::Filter { why: error.0 }),
    }
}

/// Appends a key column's value.
pub(super) fn key(
    program: &Program,
    event: &Event<'_>,
    at: Option<At<'_>>,
    ty: &tributary_crds::column::ColumnType,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let result = eval(program, event, at).map_err(|error| error.0)?;
    let kind = result.type_name();
    let mut text = Vec::new();
    write(&result, &mut text);
    match convert::convert(&mut Cursor::new(&text), ty, out) {
        Ok(Converted::Written) => Ok(()),
        Ok(Converted::Null) => Err("its expression gave null".to_owned()),
        Ok(Converted::Unfit) => Err(format!("its expression gave a {kind} that does not fit {ty}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Appends a column with its prefix. An error of evaluation follows the column's `onError`, as a value that does not fit.
pub(super) fn column(
    column: &ExprColumn,
    event: &Event<'_>,
    at: Option<At<'_>>,
    scratch: &mut Scratch,
    shaped: &mut Shaped,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let mut text = std::mem::take(&mut scratch.text);
    text.clear();
    let found = match eval(&column.program, event, at) {
        Ok(value) => {
            write(&value, &mut text);
            Ok(value.type_name())
        }
        Err(error) => Err(error.0),
    };
    let result = place(column, found, &text, scratch, shaped, out);
    scratch.text = text;
    result
}

fn place(
    column: &ExprColumn,
    found: Result<&'static str, String>,
    text: &[u8],
    scratch: &mut Scratch,
    shaped: &mut Shaped,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if found.is_ok() {
        let before = out.len();
        out.extend_from_slice(&column.prefix);
        match convert::convert(&mut Cursor::new(text), &column.ty, out)? {
            Converted::Written => return Ok(()),
            Converted::Null => {
                out.truncate(before);
                return column.absent.write(&column.name, out);
            }
            Converted::Unfit => out.truncate(before),
        }
    }
    let what = match &found {
        Ok(kind) => format!("its expression gave a {kind} that does not fit {}", column.ty),
        Err(error) => format!("its expression failed: {error}"),
    };
    match column.on_error {
        OnError::Reject => {
            return Err(Refused::Expr {
                column: column.name.clone(),
                what,
            });
        }
        OnError::SetNull => {}
        OnError::Overflow => {
            shaped.overflowed += 1;
            let path = format!("$expr.{}", column.name);
            match found {
                Ok(_) => scratch.extra.take(&path, &mut Cursor::new(text))?,
                Err(error) => {
                    let mut message = Vec::new();
                    write_string(&error, &mut message);
                    scratch.extra.take(&path, &mut Cursor::new(&message))?;
                }
            }
        }
    }
    column.unfit.write(&column.name, out)
}

/// Extended JSON of a value: from there it takes the way of every value of a document.
fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    let wrapped = |name: &str, text: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(format!("{{\"{name}\": \"{text}\"}}").as_bytes());
    };
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) => write_int(*value, out),
        // Debug keeps the point: 3.0 stays a double.
        Value::Double(value) if value.is_finite() => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Value::Double(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
        Value::Double(value) => {
            out.extend_from_slice(if *value > 0.0 { b"Infinity" } else { b"-Infinity" });
        }
        Value::Decimal(value) => wrapped("$numberDecimal", &value.to_string(), out),
        Value::Str(text) => write_string(text, out),
        Value::Date(ms) => out.extend_from_slice(format!("{{\"$date\": {ms}}}").as_bytes()),
        Value::Opaque { raw, .. } | Value::Object(raw) | Value::Array(raw) => out.extend_from_slice(raw),
        Value::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Map(members) => {
            out.push(b'{');
            for (i, (name, item)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

/// What an exploded path holds.
pub(super) fn is_array(text: &[u8]) -> Result<Option<bool>, JsonError> {
    Ok(match Cursor::new(text).kind()? {
        Kind::Array => Some(true),
        Kind::Null => None,
        _ => Some(false),
    })
}
