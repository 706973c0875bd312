//! From CEL's syntax tree to ours: names become places, functions are known or refused.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::Parser;

use super::{ExprError, Program, TEXT_MAX};

/// What an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    Doc,
    /// The document's `_id`.
    Key,
    Meta(Meta),
    Element,
}

/// Members of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    Tenant,
    Dataset,
    Op,
    SourceTs,
    Topic,
    Partition,
    Offset,
    Ordinal,
}

const META: [(&str, Meta); 8] = [
    ("tenant", Meta::Tenant),
    ("dataset", Meta::Dataset),
    ("op", Meta::Op),
    ("sourceTs", Meta::SourceTs),
    ("topic", Meta::Topic),
    ("partition", Meta::Partition),
    ("offset", Meta::Offset),
    ("ordinal", Meta::Ordinal),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Substring,
    Split,
    Join,
    String,
    Int,
    Double,
    Decimal,
    Timestamp,
    Type,
    NotStrictlyFalse,
}

/// Name, function, and how many arguments it takes, the target included.
const FUNCTIONS: [(&str, Function, std::ops::RangeInclusive<usize>); 18] = [
    ("size", Function::Size, 1..=1),
    ("contains", Function::Contains, 2..=2),
    ("startsWith", Function::StartsWith, 2..=2),
    ("endsWith", Function::EndsWith, 2..=2),
    ("lowerAscii", Function::LowerAscii, 1..=1),
    ("upperAscii", Function::UpperAscii, 1..=1),
    ("trim", Function::Trim, 1..=1),
    ("replace", Function::Replace, 3..=3),
    ("substring", Function::Substring, 2..=3),
    ("split", Function::Split, 2..=2),
    ("join", Function::Join, 1..=2),
    ("string", Function::String, 1..=1),
    ("int", Function::Int, 1..=1),
    ("double", Function::Double, 1..=1),
    ("decimal", Function::Decimal, 1..=1),
    ("timestamp", Function::Timestamp, 1..=1),
    ("type", Function::Type, 1..=1),
    (operators::NOT_STRICTLY_FALSE, Function::NotStrictlyFalse, 1..=1),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

const BINARY: [(&str, Binary); 12] = [
    (operators::ADD, Binary::Add),
    (operators::SUBSTRACT, Binary::Subtract),
    (operators::MULTIPLY, Binary::Multiply),
    (operators::DIVIDE, Binary::Divide),
    (operators::MODULO, Binary::Modulo),
    (operators::EQUALS, Binary::Equal),
    (operators::NOT_EQUALS, Binary::NotEqual),
    (operators::LESS, Binary::Less),
    (operators::LESS_EQUALS, Binary::LessEqual),
    (operators::GREATER, Binary::Greater),
    (operators::GREATER_EQUALS, Binary::GreaterEqual),
    (operators::IN, Binary::In),
];

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Str(String),
}

#[derive(Clone, Debug)]
pub(super) enum Code {
    Literal(Literal),
    Variable(Variable),
    Local(usize),
    Member(Box<Code>, String),
    Has(Box<Code>, String),
    Index(Box<Code>, Box<Code>),
    List(Vec<Code>),
    Map(Vec<(Code, Code)>),
    And(Box<Code>, Box<Code>),
    Or(Box<Code>, Box<Code>),
    Not(Box<Code>),
    Negate(Box<Code>),
    If(Box<Code>, Box<Code>, Box<Code>),
    Binary(Binary, Box<Code>, Box<Code>),
    Call(Function, Vec<Code>),
    Loop(Box<Loop>),
}

/// What `all`, `exists`, `map` and `filter` expand to.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub range: Code,
    pub item: usize,
    pub result: usize,
    pub start: Code,
    pub condition: Code,
    pub step: Code,
    pub end: Code,
}

pub(super) fn compile(text: &str, exploded: bool) -> Result<Program, ExprError> {
    if text.len() > TEXT_MAX {
        return Err(ExprError::new(format!(
            "the expression has {} bytes, at most {TEXT_MAX} are allowed",
            text.len()
        )));
    }
    let tree = Parser::new().parse(text).map_err(|errors| {
        let first = errors.errors.first().map_or(String::new(), |e| {
            format!(" at line {} column {}: {}", e.pos.0, e.pos.1, e.msg)
        });
        ExprError::new(format!("not a CEL expression{first}"))
    })?;
    let mut compiler = Compiler {
        exploded,
        scope: Vec::new(),
        locals: 0,
        uses: Vec::new(),
    };
    let code = compiler.code(&tree)?;
    Ok(Program {
        code,
        locals: compiler.locals,
        uses: compiler.uses,
    })
}

struct Compiler {
    exploded: bool,
    /// Names of macro variables in sight, innermost last; the index is the place.
    scope: Vec<String>,
    locals: usize,
    uses: Vec<Variable>,
}

impl Compiler {
    fn code(&mut self, expr: &IdedExpr) -> Result<Code, ExprError> {
        Ok(match &expr.expr {
            Expr::Literal(literal) => Code::Literal(self::literal(literal)?),
            Expr::Ident(name) => self.name(name)?,
            Expr::Select(select) => {
                if let Some(meta) = self.meta(&select.operand, &select.field)? {
                    return Ok(meta);
                }
                let operand = Box::new(self.code(&select.operand)?);
                if select.test {
                    Code::Has(operand, select.field.clone())
                } else {
                    Code::Member(operand, select.field.clone())
                }
            }
            Expr::List(list) if list.optional_indices.is_empty() => Code::List(self.all(&list.elements)?),
            Expr::Map(map) => Code::Map(
                map.entries
                    .iter()
                    .map(|entry| match &entry.expr {
                        EntryExpr::MapEntry(entry) if !entry.optional => {
                            Ok((self.code(&entry.key)?, self.code(&entry.value)?))
                        }
                        _ => Err(ExprError::new("optional entries are not part of mappings")),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::Unspecified | Expr::List(_) | Expr::Struct(_) => {
                return Err(ExprError::new(
                    "messages and optional values are not part of mappings",
                ));
            }
        })
    }

    fn all(&mut self, exprs: &[IdedExpr]) -> Result<Vec<Code>, ExprError> {
        exprs.iter().map(|expr| self.code(expr)).collect()
    }

    fn boxed(&mut self, expr: &IdedExpr) -> Result<Box<Code>, ExprError> {
        self.code(expr).map(Box::new)
    }

    fn name(&mut self, name: &str) -> Result<Code, ExprError> {
        if let Some(place) = self.scope.iter().rposition(|known| known == name) {
            return Ok(Code::Local(place));
        }
        let variable = match name {
            "doc" => Variable::Doc,
            "key" => Variable::Key,
            "element" if self.exploded => Variable::Element,
            "element" => {
                return Err(ExprError::new("element exists only in a table with rows.explode"));
            }
            "meta" => {
                return Err(ExprError::new(format!(
                    "meta is used by its members: {}",
                    self.meta_names()
                )));
            }
            _ => {
                let names = if self.exploded {
                    "doc, key, meta or element"
                } else {
                    "doc, key or meta"
                };
                return Err(ExprError::new(format!(
                    "unknown name {name:?}: an expression starts from {names}"
                )));
            }
        };
        Ok(self.variable(variable))
    }

    fn variable(&mut self, variable: Variable) -> Code {
        if !self.uses.contains(&variable) {
            self.uses.push(variable);
        }
        Code::Variable(variable)
    }

    fn meta_names(&self) -> String {
        let names: Vec<_> = META
            .iter()
            .filter(|(_, meta)| self.exploded || *meta != Meta::Ordinal)
            .map(|(name, _)| format!("meta.{name}"))
            .collect();
        names.join(", ")
    }

    /// `meta.<field>`; `None`: something else is selected from.
    fn meta(&mut self, operand: &IdedExpr, field: &str) -> Result<Option<Code>, ExprError> {
        let shadowed = self.scope.iter().any(|known| known == "meta");
        if shadowed || !matches!(&operand.expr, Expr::Ident(name) if name == "meta") {
            return Ok(None);
        }
        let known = META
            .iter()
            .find(|(name, meta)| *name == field && (self.exploded || *meta != Meta::Ordinal));
        match known {
            Some((_, meta)) => Ok(Some(self.variable(Variable::Meta(*meta)))),
            None => Err(ExprError::new(format!(
                "unknown meta.{field}: use {}",
                self.meta_names()
            ))),
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Code, ExprError> {
        let name = call.func_name.as_str();
        let code = match (name, call.args.as_slice(), &call.target) {
            (operators::LOGICAL_AND, [a, b], None) => Code::And(self.boxed(a)?, self.boxed(b)?),
            (operators::LOGICAL_OR, [a, b], None) => Code::Or(self.boxed(a)?, self.boxed(b)?),
            (operators::LOGICAL_NOT, [a], None) => Code::Not(self.boxed(a)?),
            (operators::NEGATE, [a], None) => Code::Negate(self.boxed(a)?),
            (operators::CONDITIONAL, [a, b, c], None) => {
                Code::If(self.boxed(a)?, self.boxed(b)?, self.boxed(c)?)
            }
            (operators::INDEX, [a, b], None) => Code::Index(self.boxed(a)?, self.boxed(b)?),
            (_, [a, b], None) if BINARY.iter().any(|(op, _)| *op == name) => {
                let (a, b) = (self.boxed(a)?, self.boxed(b)?);
                let op = BINARY.iter().find(|(op, _)| *op == name).map(|(_, op)| *op);
                Code::Binary(op.unwrap_or(Binary::Equal), a, b)
            }
            _ => return self.function(call),
        };
        Ok(code)
    }

    fn function(&mut self, call: &CallExpr) -> Result<Code, ExprError> {
        let name = call.func_name.as_str();
        let Some((_, function, arity)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<_> = FUNCTIONS
                .iter()
                .map(|(name, ..)| *name)
                .filter(|name| !name.starts_with('@'))
                .collect();
            return Err(ExprError::new(format!(
                "unknown function {name}: use {}, has, all, exists, exists_one, map, filter",
                known.join(", ")
            )));
        };
        let mut args = Vec::new();
        if let Some(target) = &call.target {
            args.push(self.code(target)?);
        }
        args.extend(self.all(&call.args)?);
        if !arity.contains(&args.len()) {
            return Err(ExprError::new(format!(
                "{name} takes {} to {} values, the one it is called on included; it was given {}",
                arity.start(),
                arity.end(),
                args.len()
            )));
        }
        Ok(Code::Call(*function, args))
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Result<Code, ExprError> {
        if it.iter_var2.is_some() {
            return Err(ExprError::new("macros of two variables are not part of mappings"));
        }
        let range = self.code(&it.iter_range)?;
        let start = self.code(&it.accu_init)?;
        let item = self.scope.len();
        self.scope.push(it.iter_var.clone());
        self.scope.push(it.accu_var.clone());
        self.locals = self.locals.max(self.scope.len());
        let condition = self.code(&it.loop_cond);
        let step = self.code(&it.loop_step);
        let end = self.code(&it.result);
        self.scope.truncate(item);
        Ok(Code::Loop(Box::new(Loop {
            range,
            item,
            result: item + 1,
            start,
            condition: condition?,
            step: step?,
            end: end?,
        })))
    }
}

fn literal(literal: &LiteralValue) -> Result<Literal, ExprError> {
    Ok(match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
            Ok(value) => Literal::Int(value),
            Err(_) => return Err(ExprError::new(format!("{} is too large", value.inner()))),
        },
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::String(value) => Literal::Str(value.inner().to_owned()),
        LiteralValue::Bytes(_) => return Err(ExprError::new("bytes are not part of mappings")),
    })
}
