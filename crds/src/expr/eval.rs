//! Evaluation.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use super::compile::{Binary, Code, Function, Literal, Loop, Variable};
use super::{Decimal, Value};

/// Steps one evaluation may take: a macro over a macro over a large array must not hold up a table.
const STEPS: u32 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(pub String);

/// How the text of objects and arrays is read.
pub trait Documents {
    fn member<'a>(&self, object: &'a [u8], name: &str) -> Result<Option<Value<'a>>, EvalError>;
    fn members<'a>(&self, object: &'a [u8]) -> Result<Vec<(String, Value<'a>)>, EvalError>;
    fn elements<'a>(&self, array: &'a [u8]) -> Result<Vec<Value<'a>>, EvalError>;
}

/// What an expression is evaluated over.
pub struct Env<'a, 'e> {
    pub documents: &'e dyn Documents,
    pub variable: &'e dyn Fn(Variable) -> Result<Value<'a>, EvalError>,
}

type Outcome<'a> = Result<Value<'a>, EvalError>;

fn error<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError(message.into()))
}

pub(super) fn run<'a>(code: &'a Code, locals: usize, env: &Env<'a, '_>) -> Outcome<'a> {
    let mut run = Run {
        env,
        locals: vec![Value::Null; locals],
        steps: STEPS,
    };
    run.eval(code)
}

struct Run<'a, 'e, 'r> {
    env: &'r Env<'a, 'e>,
    locals: Vec<Value<'a>>,
    steps: u32,
}

impl<'a> Run<'a, '_, '_> {
    fn eval(&mut self, code: &'a Code) -> Outcome<'a> {
        self.steps = match self.steps.checked_sub(1) {
            Some(left) => left,
            None => return error(format!("more than {STEPS} steps")),
        };
        Ok(match code {
            Code::Literal(literal) => match literal {
                Literal::Null => Value::Null,
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Int(value) => Value::Int(*value),
                Literal::Double(value) => Value::Double(*value),
                Literal::Str(value) => Value::Str(Cow::Borrowed(value)),
            },
            Code::Variable(variable) => (self.env.variable)(*variable)?,
            Code::Local(place) => self.locals[*place].clone(),
            Code::Member(operand, name) => {
                let operand = self.eval(operand)?;
                self.member(&operand, name)?.unwrap_or(Value::Null)
            }
            Code::Has(operand, name) => {
                let operand = self.eval(operand)?;
                Value::Bool(self.member(&operand, name)?.is_some())
            }
            Code::Index(operand, index) => {
                let (operand, index) = (self.eval(operand)?, self.eval(index)?);
                self.index(&operand, &index)?
            }
            Code::List(items) => Value::list(
                items
                    .iter()
                    .map(|item| self.eval(item))
                    .collect::<Result<_, _>>()?,
            ),
            Code::Map(entries) => self.map(entries)?,
            Code::And(a, b) => self.logic(a, b, false)?,
            Code::Or(a, b) => self.logic(a, b, true)?,
            Code::Not(operand) => match truth(&self.eval(operand)?)? {
                Some(value) => Value::Bool(!value),
                None => Value::Null,
            },
            Code::Negate(operand) => match self.eval(operand)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).map_or_else(overflow, Ok)?,
                Value::Double(value) => Value::Double(-value),
                Value::Decimal(value) => value.negate().map(Value::Decimal).map_or_else(overflow, Ok)?,
                Value::Null => Value::Null,
                other => return error(format!("cannot negate a value of type {}", other.type_name())),
            },
            Code::If(condition, then, otherwise) => {
                if truth(&self.eval(condition)?)? == Some(true) {
                    self.eval(then)?
                } else {
                    self.eval(otherwise)?
                }
            }
            Code::Binary(op, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.binary(*op, a, b)?
            }
            Code::Call(Function::NotStrictlyFalse, args) => {
                let holds = match args.first().map(|arg| self.eval(arg)) {
                    Some(Ok(value)) => truth(&value)? != Some(false),
                    _ => true,
                };
                Value::Bool(holds)
            }
            Code::Call(function, args) => {
                let args = args
                    .iter()
                    .map(|arg| self.eval(arg))
                    .collect::<Result<Vec<_>, _>>()?;
                self.call(*function, args)?
            }
            Code::Loop(it) => self.comprehension(it)?,
        })
    }

    fn comprehension(&mut self, it: &'a Loop) -> Outcome<'a> {
        let items: Vec<Value<'a>> = match self.eval(&it.range)? {
            // An absent array has no elements.
            Value::Null => Vec::new(),
            Value::Array(text) => self.env.documents.elements(text)?,
            Value::List(items) => items.to_vec(),
            other => match self.members(&other)? {
                Some(members) => members
                    .into_iter()
                    .map(|(name, _)| Value::Str(name.into()))
                    .collect(),
                None => return error(format!("a {} has no elements", other.type_name())),
            },
        };
        self.locals[it.result] = self.eval(&it.start)?;
        for item in items {
            self.locals[it.item] = item;
            if truth(&self.eval(&it.condition)?)? != Some(true) {
                break;
            }
            self.locals[it.result] = self.eval(&it.step)?;
        }
        self.eval(&it.end)
    }

    fn map(&mut self, entries: &'a [(Code, Code)]) -> Outcome<'a> {
        let mut members = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match self.eval(key)? {
                Value::Str(key) => members.push((key.into_owned(), self.eval(value)?)),
                other => {
                    return error(format!(
                        "names of an object are strings, not {}",
                        other.type_name()
                    ));
                }
            }
        }
        Ok(Value::Map(Rc::new(members)))
    }

    /// `&&` (`decisive` is false) and `||` (true), three-valued.
    fn logic(&mut self, a: &'a Code, b: &'a Code, decisive: bool) -> Outcome<'a> {
        // An error on one side does not matter when the other decides, as CEL has it.
        let left = self.eval(a).and_then(|value| truth(&value));
        if left == Ok(Some(decisive)) {
            return Ok(Value::Bool(decisive));
        }
        let right = self.eval(b).and_then(|value| truth(&value))?;
        if right == Some(decisive) {
            return Ok(Value::Bool(decisive));
        }
        Ok(match (left?, right) {
            (Some(_), Some(_)) => Value::Bool(!decisive),
            _ => Value::Null,
        })
    }

    /// `None`: there is no such member. Whatever has no members has not this one either.
    fn member(&self, operand: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match operand {
            Value::Object(text) => self.env.documents.member(text, name),
            Value::Map(members) => Ok(members.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())),
            _ => Ok(None),
        }
    }

    fn index(&self, operand: &Value<'a>, index: &Value<'a>) -> Outcome<'a> {
        let found = match (operand, index) {
            (Value::Null, _) | (_, Value::Null) => None,
            (Value::Array(text), Value::Int(at)) => place(*at, self.env.documents.elements(text)?),
            (Value::List(items), Value::Int(at)) => {
                usize::try_from(*at).ok().and_then(|at| items.get(at).cloned())
            }
            (_, Value::Str(name)) => self.member(operand, name)?,
            _ => {
                return error(format!(
                    "a {} cannot be indexed by a {}",
                    operand.type_name(),
                    index.type_name()
                ));
            }
        };
        Ok(found.unwrap_or(Value::Null))
    }

    fn members(&self, value: &Value<'a>) -> Result<Option<Vec<(String, Value<'a>)>>, EvalError> {
        Ok(match value {
            Value::Object(text) => Some(self.env.documents.members(text)?),
            Value::Map(members) => Some(members.to_vec()),
            _ => None,
        })
    }

    fn elements(&self, value: &Value<'a>) -> Result<Option<Vec<Value<'a>>>, EvalError> {
        Ok(match value {
            Value::Array(text) => Some(self.env.documents.elements(text)?),
            Value::List(items) => Some(items.to_vec()),
            _ => None,
        })
    }

    fn binary(&self, op: Binary, a: Value<'a>, b: Value<'a>) -> Outcome<'a> {
        let ordered = |wanted: fn(Ordering) -> bool| -> Outcome<'a> {
            Ok(Value::Bool(compare(&a, &b)?.is_some_and(wanted)))
        };
        match op {
            Binary::Equal => Ok(Value::Bool(self.equal(&a, &b)?)),
            Binary::NotEqual => Ok(Value::Bool(!self.equal(&a, &b)?)),
            Binary::Less => ordered(Ordering::is_lt),
            Binary::LessEqual => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::GreaterEqual => ordered(Ordering::is_ge),
            Binary::In => self.contains(&b, &a),
            Binary::Add => self.add(a, b),
            _ => arithmetic(op, &a, &b),
        }
    }

    fn add(&self, a: Value<'a>, b: Value<'a>) -> Outcome<'a> {
        match (a, b) {
            (Value::Str(a), Value::Str(b)) => Ok(Value::Str(a + b)),
            (Value::List(mut a), b @ (Value::List(_) | Value::Array(_))) => {
                let more = self.elements(&b)?.unwrap_or_default();
                self.charge(more.len())?;
                Rc::make_mut(&mut a).extend(more);
                Ok(Value::List(a))
            }
            (a @ Value::Array(_), b @ (Value::List(_) | Value::Array(_))) => {
                let mut items = self.elements(&a)?.unwrap_or_default();
                items.extend(self.elements(&b)?.unwrap_or_default());
                Ok(Value::list(items))
            }
            (a, b) => arithmetic(Binary::Add, &a, &b),
        }
    }

    /// A list cannot outgrow what the steps allow anyway.
    fn charge(&self, items: usize) -> Result<(), EvalError> {
        if items as u64 > u64::from(self.steps) {
            return error(format!("more than {STEPS} steps"));
        }
        Ok(())
    }

    fn contains(&self, container: &Value<'a>, wanted: &Value<'a>) -> Outcome<'a> {
        if let Some(items) = self.elements(container)? {
            for item in &items {
                if self.equal(item, wanted)? {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        match (container, wanted) {
            (Value::Null, _) => Ok(Value::Bool(false)),
            (Value::Object(_) | Value::Map(_), Value::Str(name)) => {
                Ok(Value::Bool(self.member(container, name)?.is_some()))
            }
            _ => error(format!("a {} contains nothing", container.type_name())),
        }
    }

    /// Values of different types differ; numbers are compared by value.
    fn equal(&self, a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
        Ok(match (a, b) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (
                Value::Opaque {
                    kind: x,
                    raw: a,
                    text: s,
                },
                Value::Opaque {
                    kind: y,
                    raw: b,
                    text: t,
                },
            ) if *x != "decimal" => x == y && (a == b || (!s.is_empty() && s == t)),
            (Value::Object(_) | Value::Map(_), Value::Object(_) | Value::Map(_)) => {
                let (a, b) = (
                    self.members(a)?.unwrap_or_default(),
                    self.members(b)?.unwrap_or_default(),
                );
                let mut same = a.len() == b.len();
                for ((n, a), (m, b)) in a.iter().zip(&b) {
                    same = same && n == m && self.equal(a, b)?;
                }
                same
            }
            (Value::Array(_) | Value::List(_), Value::Array(_) | Value::List(_)) => {
                let (a, b) = (
                    self.elements(a)?.unwrap_or_default(),
                    self.elements(b)?.unwrap_or_default(),
                );
                let mut same = a.len() == b.len();
                for (a, b) in a.iter().zip(&b) {
                    same = same && self.equal(a, b)?;
                }
                same
            }
            (a, b) if comparable(a, b)? => compare(a, b)? == Some(Ordering::Equal),
            _ => false,
        })
    }

    fn call(&self, function: Function, args: Vec<Value<'a>>) -> Outcome<'a> {
        if function == Function::Type {
            return Ok(Value::Str(args[0].type_name().into()));
        }
        if function == Function::Size
            && let Some(items) = self.elements(&args[0])?
        {
            return Ok(Value::Int(items.len() as i64));
        }
        if function == Function::Size
            && let Some(members) = self.members(&args[0])?
        {
            return Ok(Value::Int(members.len() as i64));
        }
        if function == Function::Join
            && let Some(items) = self.elements(&args[0])?
        {
            return join(&items, args.get(1));
        }
        super::eval::call(function, args)
    }
}

fn overflow<T>() -> Result<T, EvalError> {
    error("the number is too large")
}

fn place<'a>(at: i64, items: Vec<Value<'a>>) -> Option<Value<'a>> {
    items.into_iter().nth(usize::try_from(at).ok()?)
}

/// `None`: null.
fn truth(value: &Value<'_>) -> Result<Option<bool>, EvalError> {
    match value {
        Value::Bool(value) => Ok(Some(*value)),
        Value::Null => Ok(None),
        other => error(format!("expected true or false, found a {}", other.type_name())),
    }
}

const USE_DECIMAL: &str = "a Decimal128 is computed with only through decimal()";

/// Whether two values have an order, or at least an equality by it.
fn comparable(a: &Value<'_>, b: &Value<'_>) -> Result<bool, EvalError> {
    use Value as V;
    let decimal128 = |v: &V<'_>| matches!(v, V::Opaque { kind: "decimal", .. });
    let number = |v: &V<'_>| matches!(v, V::Int(_) | V::Double(_) | V::Decimal(_));
    if (decimal128(a) && (number(b) || decimal128(b))) || (number(a) && decimal128(b)) {
        return error(USE_DECIMAL);
    }
    Ok(matches!(
        (a, b),
        (V::Int(_) | V::Double(_), V::Int(_) | V::Double(_))
            | (V::Decimal(_), V::Decimal(_) | V::Int(_))
            | (V::Int(_), V::Decimal(_))
            | (V::Str(_), V::Str(_))
            | (V::Date(_), V::Date(_))
            | (V::Bool(_), V::Bool(_))
    ))
}

/// `None`: one of them is null, or a NaN.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, EvalError> {
    use Value as V;
    if matches!(a, V::Null) || matches!(b, V::Null) {
        return Ok(None);
    }
    if !comparable(a, b)? {
        return error(format!(
            "a {} and a {} have no order",
            a.type_name(),
            b.type_name()
        ));
    }
    Ok(match (a, b) {
        (V::Int(a), V::Int(b)) => Some(a.cmp(b)),
        (V::Double(a), V::Double(b)) => a.partial_cmp(b),
        (V::Int(a), V::Double(b)) => int_to_double(*a, *b),
        (V::Double(a), V::Int(b)) => int_to_double(*b, *a).map(Ordering::reverse),
        (V::Str(a), V::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (V::Date(a), V::Date(b)) => Some(a.cmp(b)),
        (V::Bool(a), V::Bool(b)) => Some(a.cmp(b)),
        _ => match (decimal(a), decimal(b)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => None,
        },
    })
}

/// Exact: above 2^53 an integer has no double of its own.
fn int_to_double(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= 9_223_372_036_854_775_808.0 {
        return Some(Ordering::Less);
    }
    if b < -9_223_372_036_854_775_808.0 {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    Some(
        a.cmp(&(whole as i64))
            .then_with(|| 0.0.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal)),
    )
}

fn decimal(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Decimal(value) => Some(*value),
        Value::Int(value) => Some(Decimal::from_int(*value)),
        _ => None,
    }
}

fn arithmetic<'a>(op: Binary, a: &Value<'_>, b: &Value<'_>) -> Outcome<'a> {
    use Value as V;
    match (a, b) {
        (V::Null, _) | (_, V::Null) => Ok(V::Null),
        (V::Int(a), V::Int(b)) => integers(op, *a, *b),
        (V::Double(a), V::Double(b)) => doubles(op, *a, *b),
        (V::Int(a), V::Double(b)) => doubles(op, *a as f64, *b),
        (V::Double(a), V::Int(b)) => doubles(op, *a, *b as f64),
        (V::Opaque { kind: "decimal", .. }, _) | (_, V::Opaque { kind: "decimal", .. }) => error(USE_DECIMAL),
        _ => {
            let (Some(x), Some(y)) = (decimal(a), decimal(b)) else {
                return error(format!(
                    "cannot compute with a {} and a {}",
                    a.type_name(),
                    b.type_name()
                ));
            };
            let result = match op {
                Binary::Add => x.plus(y),
                Binary::Subtract => x.subtract(y),
                Binary::Multiply => x.multiply(y),
                _ => return error("decimal numbers are added, subtracted and multiplied only"),
            };
            result.map(V::Decimal).map_or_else(overflow, Ok)
        }
    }
}

fn integers<'a>(op: Binary, a: i64, b: i64) -> Outcome<'a> {
    let result = match op {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        _ if b == 0 => return error("division by zero"),
        Binary::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Value::Int).map_or_else(overflow, Ok)
}

fn doubles<'a>(op: Binary, a: f64, b: f64) -> Outcome<'a> {
    Ok(Value::Double(match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        _ => return error("% is for integers"),
    }))
}

fn join<'a>(items: &[Value<'a>], separator: Option<&Value<'a>>) -> Outcome<'a> {
    let separator = match separator {
        Some(Value::Str(text)) => text.as_ref(),
        _ => "",
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Str(text) => texts.push(text.as_ref()),
            other => return error(format!("join takes strings, not a {}", other.type_name())),
        }
    }
    Ok(Value::Str(texts.join(separator).into()))
}

/// Functions of scalars. Of null each is null.
fn call<'a>(function: Function, args: Vec<Value<'a>>) -> Outcome<'a> {
    if args.iter().any(|arg| matches!(arg, Value::Null)) {
        return Ok(Value::Null);
    }
    let mut args = args.into_iter();
    let this = args.next().unwrap_or(Value::Null);
    match function {
        Function::String => to_string(this),
        Function::Int => to_int(&this),
        Function::Double => to_double(&this),
        Function::Decimal => to_decimal(&this),
        Function::Timestamp => match &this {
            Value::Date(_) => Ok(this),
            Value::Str(text) => match text.parse::<jiff::Timestamp>() {
                Ok(moment) => Ok(Value::Date(moment.as_millisecond())),
                Err(_) => error(format!("{text:?} is not a moment like 2024-01-02T03:04:05Z")),
            },
            other => error(format!(
                "timestamp() takes a string or a date, not a {}",
                other.type_name()
            )),
        },
        _ => match &this {
            Value::Str(text) => of_text(function, text, &args.collect::<Vec<_>>()),
            other => error(format!(
                "{function:?} is for strings, not for a {}",
                other.type_name()
            )),
        },
    }
}

fn to_string(value: Value<'_>) -> Outcome<'_> {
    Ok(Value::Str(match value {
        Value::Str(text) => text,
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Double(value) => value.to_string().into(),
        Value::Decimal(value) => value.to_string().into(),
        Value::Opaque { text, .. } if !text.is_empty() => text.into(),
        Value::Date(ms) => match jiff::Timestamp::from_millisecond(ms) {
            Ok(moment) => moment.to_string().into(),
            Err(_) => return error(format!("{ms} ms is outside the calendar")),
        },
        other => return error(format!("a {} has no text", other.type_name())),
    }))
}

fn to_int<'a>(value: &Value<'_>) -> Outcome<'a> {
    let number = match value {
        Value::Int(value) => Some(*value),
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Double(value) if value.abs() < 9.2e18 => Some(value.trunc() as i64),
        Value::Str(text) => text.parse().ok(),
        // Milliseconds: what a date is in BSON.
        Value::Date(ms) => Some(*ms),
        _ => None,
    };
    number
        .map(Value::Int)
        .map_or_else(|| error(format!("this {} is no integer", value.type_name())), Ok)
}

fn to_double<'a>(value: &Value<'_>) -> Outcome<'a> {
    let number = match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Str(text) => text.parse().ok(),
        Value::Decimal(value) => value.to_string().parse().ok(),
        _ => None,
    };
    number
        .map(Value::Double)
        .map_or_else(|| error(format!("this {} is no double", value.type_name())), Ok)
}

fn to_decimal<'a>(value: &Value<'_>) -> Outcome<'a> {
    let number = match value {
        Value::Decimal(value) => Some(*value),
        Value::Int(value) => Some(Decimal::from_int(*value)),
        Value::Double(value) => Decimal::parse(&value.to_string()),
        Value::Str(text) => Decimal::parse(text),
        Value::Opaque {
            kind: "decimal",
            text,
            ..
        } => Decimal::parse(text),
        _ => None,
    };
    number.map(Value::Decimal).map_or_else(
        || error(format!("this {} is no decimal number", value.type_name())),
        Ok,
    )
}

fn of_text<'a>(function: Function, text: &str, args: &[Value<'_>]) -> Outcome<'a> {
    let word = |i: usize| match args.get(i) {
        Some(Value::Str(word)) => Ok(word.as_ref()),
        Some(other) => error(format!("{function:?} takes strings, not a {}", other.type_name())),
        None => error(format!("{function:?} takes strings")),
    };
    let owned = |text: String| Ok(Value::Str(text.into()));
    match function {
        Function::Size => Ok(Value::Int(text.chars().count() as i64)),
        Function::Contains => Ok(Value::Bool(text.contains(word(0)?))),
        Function::StartsWith => Ok(Value::Bool(text.starts_with(word(0)?))),
        Function::EndsWith => Ok(Value::Bool(text.ends_with(word(0)?))),
        Function::LowerAscii => owned(text.to_ascii_lowercase()),
        Function::UpperAscii => owned(text.to_ascii_uppercase()),
        Function::Trim => owned(text.trim().to_owned()),
        Function::Replace => owned(text.replace(word(0)?, word(1)?)),
        Function::Split => {
            let parts = text
                .split(word(0)?)
                .map(|part| Value::Str(part.to_owned().into()));
            Ok(Value::list(parts.collect()))
        }
        Function::Substring => {
            let at = |value: &Value<'_>| match value {
                Value::Int(at) => usize::try_from(*at).or_else(|_| error("substring counts from 0")),
                other => error(format!("substring takes integers, not a {}", other.type_name())),
            };
            let from = args.first().map_or(Ok(0), at)?;
            let to = args.get(1).map(at).transpose()?.unwrap_or(usize::MAX);
            owned(text.chars().skip(from).take(to.saturating_sub(from)).collect())
        }
        _ => error(format!("{function:?} is not for a string")),
    }
}
