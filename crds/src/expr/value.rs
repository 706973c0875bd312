//! What an expression computes with.

use std::borrow::Cow;
use std::rc::Rc;

use super::Decimal;

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Made by `decimal()` only.
    Decimal(Decimal),
    Str(Cow<'a, str>),
    /// Milliseconds since 1970.
    Date(i64),
    /// A scalar without operations of its own: Decimal128, ObjectId, UUID, binary, … Equal to its like.
    Opaque {
        /// MongoDB's name of its type.
        kind: &'static str,
        /// Its usual text, where it has one; `string()` gives it.
        text: &'a str,
        /// As it stands in the document.
        raw: &'a [u8],
    },
    /// Text of an object of the document.
    Object(&'a [u8]),
    /// Text of an array of the document.
    Array(&'a [u8]),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<Vec<(String, Value<'a>)>>),
}

impl Value<'_> {
    /// The word for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Decimal(_) => "decimal number",
            Self::Str(_) => "string",
            Self::Date(_) => "date",
            Self::Opaque { kind, .. } => kind,
            Self::Object(_) | Self::Map(_) => "object",
            Self::Array(_) | Self::List(_) => "array",
        }
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }
}
