//! CEL in mappings: `expr` of a column, `where` of a table. One compiler for the operator's validation, the command line and the
//! relay, so that all three say the same of the same text.
//!
//! The grammar and its macros are those of the `cel` crate; evaluation is our own, because a mapping promises what no CEL
//! evaluator does: an absent field is null; a comparison with null is false (`==`, `!=` aside) and never an error, arithmetic
//! with null is null, and `&& || !` are three-valued as in SQL; integers and doubles promote to each other; Decimal128 takes
//! part in nothing but `decimal()`. Documents stay text: a value is read when an expression asks for it.

mod compile;
mod decimal;
mod eval;
mod value;

pub use compile::{Meta, Variable};
pub use decimal::Decimal;
pub use eval::{Documents, Env, EvalError};
pub use value::Value;

/// Longest expression, in bytes.
pub const TEXT_MAX: usize = 4096;

/// Why a text is not an expression of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExprError(String);

impl ExprError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    code: compile::Code,
    /// Variables of macros alive at once.
    locals: usize,
    uses: Vec<Variable>,
}

impl Program {
    /// `exploded`: the table has one row per array element, so `element` and `meta.ordinal` exist.
    pub fn compile(text: &str, exploded: bool) -> Result<Self, ExprError> {
        compile::compile(text, exploded)
    }

    /// Whether the result may depend on a variable.
    pub fn uses(&self, variable: Variable) -> bool {
        self.uses.contains(&variable)
    }

    pub fn eval<'a>(&'a self, env: &Env<'a, '_>) -> Result<Value<'a>, EvalError> {
        eval::run(&self.code, self.locals, env)
    }
}

/// Whether [`Program::compile`] takes the text.
pub fn check(text: &str, exploded: bool) -> Result<(), ExprError> {
    Program::compile(text, exploded).map(drop)
}

#[cfg(test)]
mod tests;
