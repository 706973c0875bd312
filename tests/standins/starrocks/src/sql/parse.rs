//! One statement of text to one `Statement`.

use super::ast::*;
use super::lex::{Cursor, Kind, SyntaxError};
use super::parse_account;
use super::parse_alter::alter_table;
use super::parse_table::{create_table, object_name, properties};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A statement StarRocks knows and the stand-in does not.
    #[error("the stand-in does not implement {0}")]
    Unsupported(&'static str),
}

/// Statement classes left to later issues: external catalogs, materialized views, resource groups, warehouses.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("CREATE EXTERNAL CATALOG", "CREATE EXTERNAL CATALOG"),
    ("ALTER CATALOG", "ALTER CATALOG"),
    ("DROP CATALOG", "DROP CATALOG"),
    ("SHOW CREATE CATALOG", "SHOW CREATE CATALOG"),
    ("REFRESH EXTERNAL TABLE", "REFRESH EXTERNAL TABLE"),
    ("CREATE MATERIALIZED VIEW", "CREATE MATERIALIZED VIEW"),
    ("ALTER MATERIALIZED VIEW", "ALTER MATERIALIZED VIEW"),
    ("REFRESH MATERIALIZED VIEW", "REFRESH MATERIALIZED VIEW"),
    ("DROP MATERIALIZED VIEW", "DROP MATERIALIZED VIEW"),
    ("CREATE RESOURCE GROUP", "CREATE RESOURCE GROUP"),
    ("CREATE WAREHOUSE", "CREATE WAREHOUSE"),
    ("SET WAREHOUSE", "SET WAREHOUSE"),
    ("SUBMIT", "SUBMIT TASK"),
    ("ALTER SYSTEM", "ALTER SYSTEM"),
    ("UPDATE", "UPDATE"),
];

pub fn parse(source: &str) -> Result<Statement, ParseError> {
    let mut c = Cursor::new(source)?;
    for (words, class) in UNSUPPORTED {
        if c.at_words(words) {
            return Err(ParseError::Unsupported(class));
        }
    }
    let statement = statement(&mut c)?;
    c.finish()?;
    Ok(statement)
}

fn statement(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    if c.take("CREATE") {
        return create(c);
    }
    if c.take("DROP") {
        return drop_object(c);
    }
    if c.take("ALTER TABLE") {
        return alter_table(c);
    }
    if c.take("ALTER VIEW") {
        let name = object_name(c)?;
        c.expect("AS")?;
        return Ok(view(true, false, name, Vec::new(), String::new(), rest(c)));
    }
    if c.take("CANCEL ALTER TABLE") {
        if !(c.take("COLUMN") || c.take("OPTIMIZE") || c.take("ROLLUP")) {
            return Err(c.unexpected("'COLUMN', 'OPTIMIZE', 'ROLLUP'"));
        }
        c.expect("FROM")?;
        let name = object_name(c)?;
        let jobs = if c.at_symbol("(") {
            c.list(Cursor::number::<i64>)?
        } else {
            Vec::new()
        };
        return Ok(Statement::CancelAlter { name, jobs });
    }
    if c.take("TRUNCATE TABLE") {
        return object_name(c).map(Statement::TruncateTable);
    }
    if c.take("RECOVER TABLE") {
        return object_name(c).map(Statement::RecoverTable);
    }
    if c.take("SHOW") {
        return show(c);
    }
    if c.take("ADMIN SET FRONTEND CONFIG") {
        return properties(c).map(Statement::SetConfig);
    }
    if c.take("ADMIN SHOW FRONTEND CONFIG") {
        let filter = show_filter(c)?;
        return Ok(Statement::Show(Show::FrontendConfig, filter));
    }
    if c.take("DESCRIBE") || c.take("DESC") {
        let name = object_name(c)?;
        c.take("ALL");
        return Ok(Statement::Describe(name));
    }
    if c.take("USE") {
        let name = object_name(c)?;
        return Ok(Statement::Use(name.name));
    }
    if c.take("GRANT") {
        return parse_account::grant(c, false);
    }
    if c.take("REVOKE") {
        return parse_account::grant(c, true);
    }
    if c.at_words("ALTER USER") {
        c.expect("ALTER")?;
        if let Some(statement) = parse_account::account(c, Verb::Alter)? {
            return Ok(statement);
        }
    }
    if c.take("SET") {
        if let Some(statement) = parse_account::set(c)? {
            return Ok(statement);
        }
        return Ok(Statement::Set(rest(c)));
    }
    if c.take("SYNC") {
        return Ok(Statement::Sync);
    }
    if c.take("INSERT INTO") {
        return insert(c);
    }
    if c.take("DELETE FROM") {
        let table = object_name(c)?;
        c.expect("WHERE")?;
        return Ok(Statement::Delete {
            table,
            filter: rest(c),
        });
    }
    for word in ["BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "KILL"] {
        if c.take(word) {
            rest(c);
            return Ok(Statement::Nothing);
        }
    }
    if ["SELECT", "WITH", "EXPLAIN", "VALUES"]
        .iter()
        .any(|w| c.at_words(w))
        || c.at_symbol("(")
    {
        return Ok(Statement::Query(rest(c)));
    }
    Err(c.unexpected("a legal statement"))
}

/// The rest of the source; the cursor moves to the end.
fn rest(c: &mut Cursor<'_>) -> String {
    let text = c.rest().to_owned();
    while !c.at_end() {
        c.advance();
    }
    text
}

fn view(
    or_replace: bool,
    if_not_exists: bool,
    name: ObjectName,
    columns: Vec<(String, String)>,
    comment: String,
    query: String,
) -> Statement {
    Statement::CreateView {
        or_replace,
        if_not_exists,
        name,
        columns,
        comment,
        query,
    }
}

fn create(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    if c.take("TABLE") {
        return create_table(c);
    }
    if let Some(statement) = parse_account::account(c, Verb::Create)? {
        return Ok(statement);
    }
    if c.take("DATABASE") || c.take("SCHEMA") {
        let if_not_exists = c.take("IF NOT EXISTS");
        let name = object_name(c)?.name;
        if c.take("PROPERTIES") {
            properties(c)?;
        }
        return Ok(Statement::CreateDatabase { if_not_exists, name });
    }
    let or_replace = c.take("OR REPLACE");
    if !c.take("VIEW") {
        return Err(c.unexpected("'DATABASE', 'TABLE', 'VIEW'"));
    }
    let if_not_exists = c.take("IF NOT EXISTS");
    let name = object_name(c)?;
    let columns = if c.at_symbol("(") {
        c.list(|c| {
            let name = c.identifier()?;
            Ok((
                name,
                if c.take("COMMENT") {
                    c.text()?
                } else {
                    String::new()
                },
            ))
        })?
    } else {
        Vec::new()
    };
    let comment = if c.take("COMMENT") {
        c.text()?
    } else {
        String::new()
    };
    if c.take("SECURITY") && !(c.take("NONE") || c.take("INVOKER")) {
        return Err(c.unexpected("'NONE', 'INVOKER'"));
    }
    c.expect("AS")?;
    Ok(view(or_replace, if_not_exists, name, columns, comment, rest(c)))
}

fn drop_object(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    if let Some(statement) = parse_account::account(c, Verb::Drop)? {
        return Ok(statement);
    }
    if c.take("DATABASE") || c.take("SCHEMA") {
        let if_exists = c.take("IF EXISTS");
        let name = object_name(c)?.name;
        return Ok(Statement::DropDatabase {
            if_exists,
            name,
            force: c.take("FORCE"),
        });
    }
    if c.take("VIEW") {
        return Ok(Statement::DropView {
            if_exists: c.take("IF EXISTS"),
            name: object_name(c)?,
        });
    }
    c.expect("TABLE")?;
    let if_exists = c.take("IF EXISTS");
    let name = object_name(c)?;
    Ok(Statement::DropTable {
        if_exists,
        name,
        force: c.take("FORCE"),
    })
}

fn insert(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let table = object_name(c)?;
    if c.take("WITH LABEL") {
        c.identifier()?;
    }
    let columns = if c.at_symbol("(") && !(c.peek_at(1).text.eq_ignore_ascii_case("select")) {
        Some(c.list(Cursor::identifier)?)
    } else {
        None
    };
    if !(c.at_words("VALUES") || c.at_words("SELECT") || c.at_words("WITH") || c.at_symbol("(")) {
        return Err(c.unexpected("'VALUES', 'SELECT'"));
    }
    Ok(Statement::Insert {
        table,
        columns,
        query: rest(c),
    })
}

fn from_db(c: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
    if c.take("FROM") || c.take("IN") {
        object_name(c).map(|n| Some(n.name))
    } else {
        Ok(None)
    }
}

fn show(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let what = show_object(c)?;
    let filter = show_filter(c)?;
    Ok(Statement::Show(what, filter))
}

fn show_object(c: &mut Cursor<'_>) -> Result<Show, SyntaxError> {
    let full = c.take("FULL");
    for scope in ["GLOBAL", "SESSION", "LOCAL"] {
        c.take(scope);
    }
    if c.take("CREATE") {
        return show_create(c);
    }
    if c.take("ALTER TABLE") {
        let optimize = c.take("OPTIMIZE");
        if !optimize {
            c.expect("COLUMN")?;
        }
        let db = from_db(c)?;
        return Ok(if optimize {
            Show::AlterTableOptimize { db }
        } else {
            Show::AlterTableColumn { db }
        });
    }
    let word = c.advance().text.to_ascii_uppercase();
    Ok(match word.as_str() {
        "DATABASES" | "SCHEMAS" => {
            from_db(c)?;
            Show::Databases
        }
        "TABLES" => Show::Tables {
            full,
            db: from_db(c)?,
        },
        "TABLE" => {
            c.expect("STATUS")?;
            Show::TableStatus { db: from_db(c)? }
        }
        "COLUMNS" | "FIELDS" => {
            if !(c.take("FROM") || c.take("IN")) {
                return Err(c.unexpected("'FROM', 'IN'"));
            }
            let mut table = object_name(c)?;
            if let Some(db) = from_db(c)? {
                table.db = Some(db);
            }
            Show::Columns { full, table }
        }
        "PARTITIONS" => {
            c.expect("FROM")?;
            Show::Partitions(object_name(c)?)
        }
        "VARIABLES" => Show::Variables,
        "WARNINGS" | "ERRORS" => Show::Warnings,
        "BACKENDS" => Show::Backends,
        "FRONTENDS" => Show::Frontends,
        "COMPUTE" => {
            c.expect("NODES")?;
            Show::ComputeNodes
        }
        "CATALOGS" => Show::Catalogs,
        "PROCESSLIST" => Show::Processlist,
        "ENGINES" | "STORAGE" => Show::Engines,
        "CHARSET" => Show::Charset,
        "CHARACTER" => {
            c.expect("SET")?;
            Show::Charset
        }
        "COLLATION" => Show::Collation,
        "USERS" => Show::Users,
        "ROLES" => Show::Roles,
        "GRANTS" => parse_account::show_grants(c)?,
        "PROC" => Show::Proc(c.text()?),
        _ => {
            c.rewind(c.position() - 1);
            return Err(c.unexpected("a legal SHOW statement"));
        }
    })
}

fn show_create(c: &mut Cursor<'_>) -> Result<Show, SyntaxError> {
    if c.take("TABLE") {
        return object_name(c).map(Show::CreateTable);
    }
    if c.take("VIEW") {
        return object_name(c).map(Show::CreateView);
    }
    if c.take("DATABASE") || c.take("SCHEMA") {
        return object_name(c).map(|n| Show::CreateDatabase(n.name));
    }
    Err(c.unexpected("'TABLE', 'VIEW', 'DATABASE'"))
}

fn show_filter(c: &mut Cursor<'_>) -> Result<ShowFilter, SyntaxError> {
    if c.take("LIKE") {
        if c.peek().kind != Kind::Text {
            return Err(c.unexpected("a string literal"));
        }
        return Ok(ShowFilter {
            like: Some(c.text()?),
            tail: None,
        });
    }
    if ["WHERE", "ORDER BY", "LIMIT"].iter().any(|w| c.at_words(w)) {
        return Ok(ShowFilter {
            like: None,
            tail: Some(rest(c)),
        });
    }
    Ok(ShowFilter::default())
}
