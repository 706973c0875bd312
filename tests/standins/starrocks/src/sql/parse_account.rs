//! CREATE USER, roles, GRANT and REVOKE.

use super::ast::*;
use super::lex::{Cursor, Kind, SyntaxError};
use super::parse_table::{object_name, properties};

/// After CREATE, ALTER or DROP; `None` when it is about something else.
pub fn account(c: &mut Cursor<'_>, verb: Verb) -> Result<Option<Statement>, SyntaxError> {
    if c.take("USER") {
        return user(c, verb).map(Some);
    }
    if verb != Verb::Alter && c.take("ROLE") {
        let lenient = lenient(c, verb);
        let names = names(c)?;
        if verb == Verb::Create && c.take("COMMENT") {
            c.text()?;
        }
        return Ok(Some(Statement::Account(Account::Roles { verb, lenient, names })));
    }
    Ok(None)
}

fn lenient(c: &mut Cursor<'_>, verb: Verb) -> bool {
    c.take(if verb == Verb::Create {
        "IF NOT EXISTS"
    } else {
        "IF EXISTS"
    })
}

fn user(c: &mut Cursor<'_>, verb: Verb) -> Result<Statement, SyntaxError> {
    let lenient = lenient(c, verb);
    let name = identity(c)?;
    let (mut password, mut default_roles) = (None, Vec::new());
    if verb != Verb::Drop && c.take("IDENTIFIED") {
        if c.take("WITH") && !c.take("mysql_native_password") {
            return Err(c.unexpected("'mysql_native_password'"));
        }
        c.expect("BY")?;
        password = Some(c.text()?);
    }
    if verb == Verb::Create && c.take("DEFAULT ROLE") {
        default_roles = names(c)?;
    }
    if verb != Verb::Drop && c.take("PROPERTIES") {
        properties(c)?;
    }
    Ok(Statement::Account(Account::User {
        verb,
        lenient,
        name,
        password,
        default_roles,
    }))
}

/// `'u'@'%'`, `'u'` or `u`: hosts other than '%' are not known to the stand-in.
pub fn identity(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let name = name(c)?;
    if c.take_symbol("@") && name_or_percent(c)? != "%" {
        return Err(c.unexpected("'%', the only host the stand-in knows"));
    }
    Ok(name)
}

fn name(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    if c.peek().kind == Kind::Text {
        c.text()
    } else {
        c.identifier()
    }
}

fn name_or_percent(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    if c.take_symbol("%") {
        return Ok("%".into());
    }
    name(c)
}

fn names(c: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    let mut names = vec![name(c)?];
    while c.take_symbol(",") {
        names.push(name(c)?);
    }
    Ok(names)
}

/// After GRANT or REVOKE.
pub fn grant(c: &mut Cursor<'_>, revoke: bool) -> Result<Statement, SyntaxError> {
    let mut words = vec![words(c)?];
    while c.take_symbol(",") {
        words.push(self::words(c)?);
    }
    let on = if c.take("ON") { Some(objects(c)?) } else { None };
    c.expect(if revoke { "FROM" } else { "TO" })?;
    let to = if c.take("ROLE") {
        Grantee::Role(name(c)?)
    } else {
        c.take("USER");
        Grantee::User(identity(c)?)
    };
    if on.is_some() && !revoke && c.take("WITH GRANT OPTION") {
        return Err(c.unexpected("no WITH GRANT OPTION: the stand-in does not know it"));
    }
    Ok(Statement::Account(match on {
        Some((kind, names)) => Account::Privileges {
            revoke,
            privileges: words.into_iter().map(|w| w.to_ascii_uppercase()).collect(),
            kind,
            names,
            to,
        },
        None => Account::RolesTo {
            revoke,
            roles: words,
            to,
        },
    }))
}

/// A privilege of several words, or a role.
fn words(c: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    if c.peek().kind != Kind::Word {
        return name(c);
    }
    let mut words = Vec::new();
    while c.peek().kind == Kind::Word && !["ON", "TO", "FROM"].iter().any(|w| c.at_words(w)) {
        words.push(c.advance().text);
    }
    if words.is_empty() {
        return Err(c.unexpected("a privilege or a role"));
    }
    Ok(words.join(" "))
}

fn objects(c: &mut Cursor<'_>) -> Result<(ObjectKind, Vec<ObjectName>), SyntaxError> {
    if c.take("SYSTEM") {
        return Ok((ObjectKind::System, Vec::new()));
    }
    if c.take("ALL DATABASES") {
        return Ok((ObjectKind::AllDatabases, Vec::new()));
    }
    for (words, kind) in [
        ("ALL TABLES IN", ObjectKind::AllTables),
        ("ALL VIEWS IN", ObjectKind::AllViews),
    ] {
        if c.take(words) {
            if c.take("ALL DATABASES") {
                return Ok((kind, Vec::new()));
            }
            c.expect("DATABASE")?;
            return Ok((kind, vec![object_name(c)?]));
        }
    }
    let kind = if c.take("CATALOG") {
        ObjectKind::Catalog
    } else if c.take("DATABASE") {
        ObjectKind::Database
    } else if c.take("VIEW") {
        ObjectKind::View
    } else {
        c.take("TABLE");
        ObjectKind::Table
    };
    let mut names = vec![object_name(c)?];
    while c.take_symbol(",") {
        names.push(object_name(c)?);
    }
    Ok((kind, names))
}

/// After SET: `ROLE …`, `DEFAULT ROLE … TO u`, `PASSWORD [FOR u] = PASSWORD('…')`; `None` for variables.
pub fn set(c: &mut Cursor<'_>) -> Result<Option<Statement>, SyntaxError> {
    let start = c.position();
    if c.take("ROLE") {
        return Ok(Some(Statement::Account(Account::SetRole(chosen(c)?))));
    }
    if c.take("DEFAULT ROLE") {
        let roles = chosen(c)?;
        c.expect("TO")?;
        let user = identity(c)?;
        return Ok(Some(Statement::Account(Account::SetDefaultRole { roles, user })));
    }
    if c.take("PASSWORD") {
        let user = if c.take("FOR") { Some(identity(c)?) } else { None };
        c.expect_symbol("=")?;
        c.expect("PASSWORD")?;
        let password = c.list(Cursor::text)?.remove(0);
        return Ok(Some(Statement::Account(Account::SetPassword { user, password })));
    }
    c.rewind(start);
    Ok(None)
}

fn chosen(c: &mut Cursor<'_>) -> Result<Chosen, SyntaxError> {
    if c.take("ALL") {
        return Ok(Chosen::All);
    }
    if c.take("NONE") {
        return Ok(Chosen::Named(Vec::new()));
    }
    if c.take("DEFAULT") {
        return Ok(Chosen::Default);
    }
    names(c).map(Chosen::Named)
}

/// After SHOW GRANTS.
pub fn show_grants(c: &mut Cursor<'_>) -> Result<Show, SyntaxError> {
    if !c.take("FOR") {
        return Ok(Show::Grants(None));
    }
    if c.take("ROLE") {
        return Ok(Show::Grants(Some(Grantee::Role(name(c)?))));
    }
    c.take("USER");
    identity(c).map(|user| Show::Grants(Some(Grantee::User(user))))
}
