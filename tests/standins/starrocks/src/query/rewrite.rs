//! From StarRocks SQL to what DataFusion plans: exact column names, session functions, operators, headers.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr,
    Statement, Value, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut, visit_relations_mut,
};

use crate::sql::error::SqlError;

/// A relation of a query as written: `[catalog.][db.]name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    pub db: Option<String>,
    pub name: String,
}

pub fn relation_of(name: &ObjectName) -> Relation {
    let mut parts: Vec<String> = name.0.iter().map(part_text).collect();
    let name = parts.pop().unwrap_or_default();
    let mut db = parts.pop();
    let is_information_schema = db
        .as_deref()
        .is_some_and(|d| d.eq_ignore_ascii_case("information_schema"));
    let mut name = name;
    if is_information_schema {
        // The one schema whose names are case-insensitive.
        db = Some("information_schema".into());
        name = name.to_ascii_lowercase();
    }
    Relation { db, name }
}

fn part_text(part: &ObjectNamePart) -> String {
    match part {
        ObjectNamePart::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}

/// Relations of a statement that are no CTEs, each once.
pub fn relations(statement: &Statement) -> Vec<Relation> {
    #[derive(Default)]
    struct Collect {
        found: Vec<Relation>,
        ctes: HashSet<String>,
    }
    impl Visitor for Collect {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if let Some(with) = &query.with {
                self.ctes
                    .extend(with.cte_tables.iter().map(|cte| cte.alias.name.value.clone()));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            let relation = relation_of(name);
            if !self.found.contains(&relation) {
                self.found.push(relation);
            }
            ControlFlow::Continue(())
        }
    }
    let mut collect = Collect::default();
    let _ = statement.visit(&mut collect);
    collect
        .found
        .retain(|r| r.db.is_some() || !collect.ctes.contains(&r.name));
    collect.found
}

/// Points relations at `default_catalog.db.name`.
pub fn qualify(statement: &mut Statement, known: &[(Relation, String)]) {
    let _ = visit_relations_mut(statement, |name| {
        let relation = relation_of(name);
        if let Some((_, db)) = known.iter().find(|(r, _)| *r == relation) {
            let parts = ["default_catalog", db, &relation.name];
            name.0 = parts
                .iter()
                .map(|p| ObjectNamePart::Identifier(Ident::with_quote('`', *p)))
                .collect();
        }
        ControlFlow::<()>::Continue(())
    });
}

/// What the session answers for itself.
pub trait SessionValues {
    fn function(&self, name: &str) -> Option<String>;
    fn variable(&self, name: &str) -> Option<String>;
    /// The privilege SELECT on a table or view.
    fn may_read(&self, db: &str, name: &str) -> Result<(), SqlError>;
    /// Is a database, or something in it, shown in information_schema?
    fn sees(&self, db: &str, name: Option<&str>) -> bool;
}

/// Rewrites all expressions. `columns` are the exact names of the columns of all tables involved: any name that differs
/// from one by case alone becomes it, aliases too, so that every reference goes on meaning the same thing.
pub fn expressions(
    statement: &mut Statement,
    columns: &[String],
    session: &dyn SessionValues,
) -> Result<(), String> {
    let exact = |name: &str| -> Option<String> {
        if columns.iter().any(|c| c == name) {
            return None;
        }
        columns.iter().find(|c| c.eq_ignore_ascii_case(name)).cloned()
    };
    rename_aliases(statement, &exact);
    let flow = visit_expressions_mut(statement, |expr| {
        match expr {
            Expr::Identifier(ident) => {
                if let Some(variable) = ident.value.strip_prefix("@@") {
                    match session.variable(variable) {
                        Some(value) => *expr = literal(&value),
                        None => return ControlFlow::Break(format!("Unknown system variable '{variable}'")),
                    }
                } else if let Some(name) = exact(&ident.value) {
                    ident.value = name;
                }
            }
            Expr::CompoundIdentifier(parts) => {
                if parts[0].value.starts_with("@@") {
                    let variable = parts.last().map(|p| p.value.clone()).unwrap_or_default();
                    match session.variable(&variable) {
                        Some(value) => *expr = literal(&value),
                        None => return ControlFlow::Break(format!("Unknown system variable '{variable}'")),
                    }
                } else if let Some(last) = parts.last_mut()
                    && let Some(name) = exact(&last.value)
                {
                    last.value = name;
                }
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Arrow,
                right,
            } => {
                *expr = call("json_query", vec![(**left).clone(), (**right).clone()]);
            }
            Expr::Function(function) => {
                if let Some(replaced) = function_call(function, session) {
                    *expr = replaced;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn rename_aliases(statement: &mut Statement, exact: &dyn Fn(&str) -> Option<String>) {
    struct Rename<'a>(&'a dyn Fn(&str) -> Option<String>);
    impl VisitorMut for Rename<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            if let SetExpr::Select(select) = &mut *query.body {
                for item in &mut select.projection {
                    if let SelectItem::ExprWithAlias { alias, .. } = item
                        && let Some(name) = (self.0)(&alias.value)
                    {
                        alias.value = name;
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(statement, &mut Rename(exact));
}

fn literal(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a)))
                .collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Lower-cases the name; replaces what the session knows and what DataFusion calls otherwise.
fn function_call(function: &mut Function, session: &dyn SessionValues) -> Option<Expr> {
    let name = part_text(function.name.0.last()?).to_ascii_lowercase();
    if let Some(value) = session.function(&name) {
        return Some(literal(&value));
    }
    let args = plain_args(function);
    if let ("if", Some([condition, then, otherwise])) = (name.as_str(), args.as_deref()) {
        return Some(Expr::Case {
            case_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            end_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen {
                condition: condition.clone(),
                result: then.clone(),
            }],
            else_result: Some(Box::new(otherwise.clone())),
        });
    }
    if let ("date", Some([of])) = (name.as_str(), args.as_deref()) {
        return Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(of.clone()),
            data_type: DataType::Date,
            array: false,
            format: None,
        });
    }
    let renamed = match name.as_str() {
        // Bytes, as in MySQL.
        "length" => "octet_length",
        "unix_timestamp" if args.as_ref().is_some_and(|a| !a.is_empty()) => "to_unixtime",
        "any_value" => "first_value",
        "group_concat" => "string_agg",
        other => other,
    };
    function.name = ObjectName::from(Ident::new(renamed));
    None
}

fn plain_args(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    list.args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// Headers as written: names every expression of the outermost SELECT, and makes repeated names unique for DataFusion.
/// Returns the headers to restore, by position, when the list holds no wildcard.
pub fn headers(statement: &mut Statement) -> Option<Vec<String>> {
    let Statement::Query(query) = statement else {
        return None;
    };
    let SetExpr::Select(select) = &mut *query.body else {
        return None;
    };
    let mut names = Vec::with_capacity(select.projection.len());
    let mut wildcard = false;
    for item in &mut select.projection {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), header(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.value.clone()),
            _ => {
                wildcard = true;
                continue;
            }
        };
        let repeated = names
            .iter()
            .filter(|n: &&String| n.eq_ignore_ascii_case(&name))
            .count();
        let alias = if repeated == 0 {
            name.clone()
        } else {
            format!("{name}\u{1}{repeated}")
        };
        names.push(name);
        *item = SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('`', alias),
        };
    }
    (!wildcard).then_some(names)
}

fn header(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        other => {
            let mut lowered = other.clone();
            struct Lower;
            impl VisitorMut for Lower {
                type Break = ();
                fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
                    if let Expr::Function(function) = expr {
                        function.name =
                            ObjectName::from(Ident::new(function.name.to_string().to_ascii_lowercase()));
                    }
                    ControlFlow::Continue(())
                }
            }
            let _ = VisitMut::visit(&mut lowered, &mut Lower);
            lowered.to_string()
        }
    }
}
