//! Everything else an operator says or meets: databases, catalogs, views, roles, SHOW, CANCEL, REFRESH, queries.

use super::super::lex::Token;
use super::super::version::Feature;
use super::create_table::{column, distribution};
use super::cursor::{Cursor, Parsed};

/// After `CREATE`, when it is not a table.
pub(super) fn create(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_any(&["DATABASE", "SCHEMA"]) {
        c.if_not_exists();
        return database(c);
    }
    if c.accept_words(&["EXTERNAL", "CATALOG"]) {
        if c.has(Feature::CatalogIfExists) {
            c.if_not_exists();
        }
        c.ident_or_string()?;
        c.comment()?;
        return c.properties().map(drop);
    }
    if c.accept_words(&["MATERIALIZED", "VIEW"]) {
        return materialized_view(c);
    }
    if c.accept_words(&["OR", "REPLACE", "VIEW"]) {
        return view(c);
    }
    if c.accept_word("VIEW") {
        c.if_not_exists();
        return view(c);
    }
    if c.accept_word("ROLE") {
        c.if_not_exists();
        names(c)?;
        return c.comment();
    }
    if c.accept_word("USER") {
        c.if_not_exists();
        user(c)?;
        authentication(c)?;
        if c.accept_words(&["DEFAULT", "ROLE"]) {
            names(c)?;
        }
        return Ok(());
    }
    if c.accept_words(&["RESOURCE", "GROUP"]) {
        c.if_not_exists();
        return resource_group(c);
    }
    if c.has(Feature::Warehouse) && c.accept_word("WAREHOUSE") {
        c.if_not_exists();
        c.ident_or_string()?;
        c.comment()?;
        return c.properties().map(drop);
    }
    if c.has(Feature::RowAccessPolicy) && c.accept_words(&["ROW", "ACCESS", "POLICY"]) {
        return row_access_policy(c);
    }
    c.unexpected("something this version can create")
}

/// Statements that begin with another word.
pub(super) fn rest(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_word("ALTER") {
        return alter(c);
    }
    if c.accept_word("DROP") {
        return drop_statement(c);
    }
    if c.accept_words(&["CANCEL", "ALTER", "TABLE"]) {
        if !c.accept_any(&["COLUMN", "OPTIMIZE", "ROLLUP"]) {
            return c.unexpected("COLUMN, OPTIMIZE or ROLLUP");
        }
        c.expect_words(&["FROM"])?;
        c.qualified()?;
        if c.is("(") {
            c.list(Cursor::integer)?;
        }
        return Ok(());
    }
    if c.accept_word("SHOW") {
        return show(c);
    }
    if c.accept_word("RECOVER") {
        if !c.accept_any(&["TABLE", "DATABASE"]) {
            return c.unexpected("TABLE or DATABASE");
        }
        return c.qualified();
    }
    if c.accept_word("REFRESH") {
        return refresh(c);
    }
    if c.accept_word("GRANT") || c.accept_word("REVOKE") {
        return grant(c);
    }
    if c.accept_word("SET") {
        if c.accept_word("CATALOG") || (c.has(Feature::Warehouse) && c.accept_word("WAREHOUSE")) {
            return c.ident_or_string();
        }
        // SET variable = value, …
        c.qualified()?;
        c.expect("=")?;
        return c.until(&[], &[]).map(drop);
    }
    c.query()
}

fn database(c: &mut Cursor<'_>) -> Parsed<()> {
    c.qualified()?;
    c.properties().map(drop)
}

fn alter(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_word("CATALOG") {
        c.ident_or_string()?;
        c.expect_words(&["SET"])?;
        return c.property_list().map(drop);
    }
    if c.accept_words(&["MATERIALIZED", "VIEW"]) {
        c.qualified()?;
        if c.accept_any(&["ACTIVE", "INACTIVE"]) {
            return Ok(());
        }
        if c.accept_words(&["SWAP", "WITH"]) || c.accept_word("RENAME") {
            return c.ident().map(drop);
        }
        if c.accept_word("REFRESH") {
            return refresh_scheme(c);
        }
        c.expect_words(&["SET"])?;
        return c.property_list().map(drop);
    }
    if c.accept_word("VIEW") {
        c.qualified()?;
        view_columns(c)?;
        c.expect_words(&["AS"])?;
        return c.query();
    }
    if c.accept_word("USER") {
        c.if_exists();
        user(c)?;
        return authentication(c);
    }
    c.unexpected("something that can be altered")
}

fn drop_statement(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_word("CATALOG") {
        if c.has(Feature::CatalogIfExists) {
            c.if_exists();
        }
        return c.ident_or_string();
    }
    let known = c.accept_any(&["TABLE", "DATABASE", "SCHEMA", "VIEW", "ROLE", "USER"])
        || c.accept_words(&["MATERIALIZED", "VIEW"])
        || c.accept_words(&["RESOURCE", "GROUP"]);
    if !known {
        return c.unexpected("something that can be dropped");
    }
    c.if_exists();
    if matches!(c.peek(), Some(Token::Str(_))) {
        return user(c);
    }
    c.qualified()?;
    c.accept_word("FORCE");
    Ok(())
}

fn show(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_words(&["ALTER", "TABLE"]) {
        if !c.accept_any(&["COLUMN", "OPTIMIZE", "ROLLUP"]) {
            return c.unexpected("COLUMN, OPTIMIZE or ROLLUP");
        }
        if c.accept_any(&["FROM", "IN"]) {
            c.qualified()?;
        }
        return filter(c);
    }
    if c.accept_word("CREATE") {
        if !c.accept_any(&["TABLE", "VIEW", "CATALOG", "DATABASE"])
            && !c.accept_words(&["MATERIALIZED", "VIEW"])
        {
            return c.unexpected("TABLE, VIEW, CATALOG or DATABASE");
        }
        return c.qualified();
    }
    c.accept_word("FULL");
    c.accept_word("TEMPORARY");
    let listable = [
        "COLUMNS",
        "PARTITIONS",
        "TABLES",
        "DATABASES",
        "CATALOGS",
        "FRONTENDS",
        "BACKENDS",
        "VARIABLES",
        "GRANTS",
        "INDEX",
        "PROCESSLIST",
        "WAREHOUSES",
    ];
    if !c.accept_any(&listable) {
        return c.unexpected("something that can be shown");
    }
    while c.accept_any(&["FROM", "IN"]) {
        c.qualified()?;
    }
    filter(c)
}

/// `[WHERE …] [LIKE …] [ORDER BY …] [LIMIT n]`.
fn filter(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_word("LIKE") {
        c.string()?;
    }
    if c.accept_word("WHERE") {
        c.until(&["ORDER", "LIMIT"], &[])?;
    }
    if c.accept_words(&["ORDER", "BY"]) {
        c.until(&["LIMIT"], &[])?;
    }
    if c.accept_word("LIMIT") {
        c.integer()?;
    }
    Ok(())
}

fn refresh(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.accept_words(&["EXTERNAL", "TABLE"]) {
        c.qualified()?;
        if c.accept_word("PARTITION") {
            c.list(Cursor::string)?;
        }
        return Ok(());
    }
    c.expect_words(&["MATERIALIZED", "VIEW"])?;
    c.qualified()?;
    if c.accept_word("PARTITION") {
        c.parenthesised()?;
    }
    c.accept_word("FORCE");
    if c.accept_word("WITH") {
        if !c.accept_any(&["SYNC", "ASYNC"]) {
            return c.unexpected("SYNC or ASYNC");
        }
        c.expect_words(&["MODE"])?;
    }
    Ok(())
}

fn materialized_view(c: &mut Cursor<'_>) -> Parsed<()> {
    c.if_not_exists();
    c.qualified()?;
    view_columns(c)?;
    c.comment()?;
    // These clauses may come in any order.
    loop {
        if c.accept_words(&["PARTITION", "BY"]) {
            c.until(&["DISTRIBUTED", "ORDER", "REFRESH", "PROPERTIES", "AS"], &[])?;
        } else if distribution(c)?.is_some() {
        } else if c.accept_words(&["ORDER", "BY"]) {
            c.ident_list()?;
        } else if c.accept_word("REFRESH") {
            refresh_scheme(c)?;
        } else {
            break;
        }
    }
    c.properties()?;
    c.expect_words(&["AS"])?;
    c.query()
}

/// After `REFRESH`: `[IMMEDIATE | DEFERRED] (MANUAL | ASYNC [START ("…")] [EVERY (INTERVAL …)])`.
fn refresh_scheme(c: &mut Cursor<'_>) -> Parsed<()> {
    c.accept_any(&["IMMEDIATE", "DEFERRED"]);
    if c.accept_any(&["MANUAL", "INCREMENTAL"]) {
        return Ok(());
    }
    c.expect_words(&["ASYNC"])?;
    if c.accept_word("START") {
        c.list(Cursor::string)?;
    }
    if c.accept_word("EVERY") {
        c.parenthesised()?;
    }
    Ok(())
}

/// After `VIEW [IF NOT EXISTS]`.
fn view(c: &mut Cursor<'_>) -> Parsed<()> {
    c.qualified()?;
    view_columns(c)?;
    c.comment()?;
    if c.has(Feature::ViewSecurity) && c.accept_word("SECURITY") && !c.accept_any(&["INVOKER", "NONE"]) {
        return c.unexpected("INVOKER or NONE");
    }
    c.expect_words(&["AS"])?;
    c.query()
}

/// `(a COMMENT "…", b)`.
fn view_columns(c: &mut Cursor<'_>) -> Parsed<()> {
    if c.is("(") {
        c.list(|c| {
            c.ident()?;
            c.comment()
        })?;
    }
    Ok(())
}

fn names(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident_or_string()?;
    while c.accept(",") {
        c.ident_or_string()?;
    }
    Ok(())
}

/// `'name'@'host'`.
fn user(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident_or_string()?;
    if c.accept("@") {
        if c.is("[") {
            c.expect("[")?;
            c.ident_or_string()?;
            return c.expect("]");
        }
        c.ident_or_string()?;
    }
    Ok(())
}

fn authentication(c: &mut Cursor<'_>) -> Parsed<()> {
    if !c.accept_word("IDENTIFIED") {
        return Ok(());
    }
    if c.accept_word("BY") {
        c.accept_word("PASSWORD");
        return c.string().map(drop);
    }
    c.expect_words(&["WITH"])?;
    c.ident()?;
    if c.accept_any(&["BY", "AS"]) {
        c.string()?;
    }
    Ok(())
}

/// After `GRANT` or `REVOKE`: privileges on objects, or roles, to or from a role or a user.
fn grant(c: &mut Cursor<'_>) -> Parsed<()> {
    let names = c.until(&["ON", "TO", "FROM"], &[])?;
    if names.is_empty() {
        return c.unexpected("privileges or roles");
    }
    if c.accept_word("ON") {
        c.until(&["TO", "FROM"], &[])?;
    }
    if !c.accept_any(&["TO", "FROM"]) {
        return c.unexpected("TO or FROM");
    }
    if c.accept_word("ROLE") {
        c.ident_or_string()?;
    } else {
        c.accept_word("USER");
        user(c)?;
    }
    c.accept_words(&["WITH", "GRANT", "OPTION"]);
    Ok(())
}

/// `name TO (classifier, …), … WITH ("k"="v", …)`.
fn resource_group(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident()?;
    if c.accept_word("TO") {
        loop {
            c.list(|c| {
                c.ident()?;
                if c.accept("=") {
                    return c.string().map(drop);
                }
                c.expect_words(&["IN"])?;
                c.list(Cursor::string).map(drop)
            })?;
            if !c.accept(",") {
                break;
            }
        }
    }
    c.expect_words(&["WITH"])?;
    c.property_list().map(drop)
}

fn row_access_policy(c: &mut Cursor<'_>) -> Parsed<()> {
    c.ident()?;
    c.expect_words(&["AS"])?;
    c.list(column)?;
    c.expect_words(&["RETURNS", "BOOLEAN"])?;
    c.expect("->")?;
    c.until(&[], &[]).map(drop)
}
