//! Runs the statements about users, roles and grants, and shows them.

use std::collections::BTreeSet;

use super::ast::*;
use super::error::SqlError;
use super::grid::{Grid, TEXT, text};
use super::session::Session;
use crate::accounts::{Accounts, Grants, Object, User};
use crate::cluster::Cluster;
use crate::table::catalog::{Catalog, Entity};
use crate::table::value::Value;

const CATALOG: &str = "default_catalog";

pub fn run(session: &mut Session, account: &Account) -> Result<(), SqlError> {
    let cluster = session.cluster.clone();
    let catalog = cluster.catalog.read();
    let mut accounts = cluster.accounts.write();
    match account {
        Account::User {
            verb,
            lenient,
            name,
            password,
            default_roles,
        } => user(
            &mut accounts,
            *verb,
            *lenient,
            name,
            password.as_deref(),
            default_roles,
        ),
        Account::Roles { verb, lenient, names } => roles(&mut accounts, *verb, *lenient, names),
        Account::Privileges {
            revoke,
            privileges,
            kind,
            names,
            to,
        } => {
            let objects = objects(&catalog, session.database.as_deref(), *kind, names)?;
            privileges_to(&mut accounts, *revoke, privileges, &objects, to)
        }
        Account::RolesTo { revoke, roles, to } => roles_to(&mut accounts, *revoke, roles, to),
        Account::SetRole(chosen) => {
            let me = known_user(&mut accounts, &session.user)?;
            let active = choose(me, chosen)?;
            session.roles = Some(active);
            Ok(())
        }
        Account::SetDefaultRole { roles, user } => {
            let user = known_user(&mut accounts, user)?;
            user.default_roles = choose(user, roles)?;
            Ok(())
        }
        Account::SetPassword { user, password } => {
            let user = user.as_deref().unwrap_or(&session.user);
            known_user(&mut accounts, user)?.password.clone_from(password);
            Ok(())
        }
    }
}

fn failed(operation: &str, of: &str, why: &str) -> SqlError {
    SqlError::analysis(format!("Operation {operation} failed for {of} : {why}"))
}

fn user(
    accounts: &mut Accounts,
    verb: Verb,
    lenient: bool,
    name: &str,
    password: Option<&str>,
    default_roles: &[String],
) -> Result<(), SqlError> {
    let exists = accounts.users.contains_key(name);
    match (verb, exists) {
        (Verb::Create, true) | (Verb::Alter | Verb::Drop, false) if lenient => Ok(()),
        (Verb::Create, true) => Err(failed("CREATE USER", &at(name), "user already exists")),
        (Verb::Alter, false) => Err(failed("ALTER USER", &at(name), "user not exists")),
        (Verb::Drop, false) => Err(failed("DROP USER", &at(name), "user not exists")),
        (Verb::Create, false) => {
            for role in default_roles {
                known_role(accounts, role)?;
            }
            let roles: BTreeSet<String> = default_roles.iter().cloned().collect();
            let user = User {
                password: password.unwrap_or_default().to_owned(),
                roles: roles.clone(),
                default_roles: roles,
                ..User::default()
            };
            accounts.users.insert(name.to_owned(), user);
            Ok(())
        }
        (Verb::Alter, true) => {
            if let (Some(user), Some(password)) = (accounts.users.get_mut(name), password) {
                password.clone_into(&mut user.password);
            }
            Ok(())
        }
        (Verb::Drop, true) => {
            accounts.users.remove(name);
            Ok(())
        }
    }
}

fn roles(accounts: &mut Accounts, verb: Verb, lenient: bool, names: &[String]) -> Result<(), SqlError> {
    for name in names {
        let exists = accounts.roles.contains_key(name);
        match verb {
            _ if lenient && exists == (verb == Verb::Create) => {}
            Verb::Create if exists => return Err(failed("CREATE ROLE", name, "role already exists")),
            Verb::Create => {
                accounts.roles.insert(name.clone(), Grants::new());
            }
            _ if !exists => return Err(failed("DROP ROLE", name, "role not exists")),
            _ => {
                accounts.roles.remove(name);
                for user in accounts.users.values_mut() {
                    user.roles.remove(name);
                    user.default_roles.remove(name);
                }
            }
        }
    }
    Ok(())
}

fn known_user<'a>(accounts: &'a mut Accounts, name: &str) -> Result<&'a mut User, SqlError> {
    let found = accounts.users.get_mut(name);
    found.ok_or_else(|| SqlError::analysis(format!("cannot find user {}", at(name))))
}

fn known_role<'a>(accounts: &'a mut Accounts, name: &str) -> Result<&'a mut Grants, SqlError> {
    let found = accounts.roles.get_mut(name);
    found.ok_or_else(|| SqlError::analysis(format!("cannot find role {name}")))
}

fn choose(user: &User, chosen: &Chosen) -> Result<BTreeSet<String>, SqlError> {
    match chosen {
        Chosen::All => Ok(user.roles.clone()),
        Chosen::Default => Ok(user.default_roles.clone()),
        Chosen::Named(names) => match names.iter().find(|name| !user.roles.contains(*name)) {
            Some(name) => Err(SqlError::analysis(format!("Role {name} is not granted"))),
            None => Ok(names.iter().cloned().collect()),
        },
    }
}

fn roles_to(accounts: &mut Accounts, revoke: bool, roles: &[String], to: &Grantee) -> Result<(), SqlError> {
    let Grantee::User(user) = to else {
        return Err(SqlError::analysis("the stand-in grants roles to users only"));
    };
    for role in roles {
        known_role(accounts, role)?;
    }
    let user = known_user(accounts, user)?;
    for role in roles {
        if revoke {
            user.roles.remove(role);
            user.default_roles.remove(role);
        } else {
            user.roles.insert(role.clone());
        }
    }
    Ok(())
}

/// The objects named, which must exist.
fn objects(
    catalog: &Catalog,
    current: Option<&str>,
    kind: ObjectKind,
    names: &[ObjectName],
) -> Result<Vec<Object>, SqlError> {
    let database = |name: &str| match catalog.databases.get(name) {
        Some(found) => Ok(found.id),
        None => Err(SqlError::analysis(format!("cannot find db: {name}"))),
    };
    let all = |object: fn(Option<i64>) -> Object| -> Result<Vec<Object>, SqlError> {
        let of = names.first().map(|name| database(&name.name)).transpose()?;
        Ok(vec![object(of)])
    };
    match kind {
        ObjectKind::System => Ok(vec![Object::System]),
        ObjectKind::AllDatabases => Ok(vec![Object::AllDatabases]),
        ObjectKind::Catalog => match names.iter().find(|name| name.name != CATALOG) {
            Some(name) => Err(SqlError::analysis(format!("cannot find catalog: {}", name.name))),
            None => Ok(vec![Object::Catalog]),
        },
        ObjectKind::AllTables => all(Object::AllTables),
        ObjectKind::AllViews => all(Object::AllViews),
        ObjectKind::Database => {
            let ids = names.iter().map(|n| database(&n.name).map(Object::Database));
            ids.collect()
        }
        ObjectKind::Table | ObjectKind::View => {
            let found = names.iter().map(|name| -> Result<Object, SqlError> {
                let db = name.db.as_deref().or(current).ok_or_else(SqlError::no_database)?;
                let entity = catalog.databases.get(db).and_then(|d| d.entities.get(&name.name));
                match (kind, entity) {
                    (ObjectKind::Table, Some(Entity::Table(table))) => Ok(Object::Table(table.id)),
                    (ObjectKind::View, Some(Entity::View(view))) => Ok(Object::View(view.id)),
                    _ => Err(SqlError::analysis(format!("cannot find {}.{}", db, name.name))),
                }
            });
            found.collect()
        }
    }
}

fn privileges_to(
    accounts: &mut Accounts,
    revoke: bool,
    privileges: &[String],
    objects: &[Object],
    to: &Grantee,
) -> Result<(), SqlError> {
    let grants = match to {
        Grantee::User(user) => &mut known_user(accounts, user)?.grants,
        Grantee::Role(role) => known_role(accounts, role)?,
    };
    for object in objects {
        let mut named = BTreeSet::new();
        for wanted in privileges {
            if matches!(wanted.as_str(), "ALL" | "ALL PRIVILEGES") {
                named.extend(object.privileges());
                continue;
            }
            let known = object.privileges().iter().find(|p| *p == wanted);
            named.insert(*known.ok_or_else(|| {
                SqlError::analysis(format!("Cant grant/revoke {wanted} to/from object {object:?}"))
            })?);
        }
        let held = grants.entry(*object).or_default();
        if revoke {
            held.retain(|p| !named.contains(p));
        } else {
            held.extend(named);
        }
        if held.is_empty() {
            grants.remove(object);
        }
    }
    Ok(())
}

fn at(user: &str) -> String {
    format!("'{user}'@'%'")
}

/// SHOW GRANTS: the roles first, then one row per object.
pub fn show_grants(cluster: &Cluster, of: &Grantee) -> Result<Grid, SqlError> {
    let catalog = cluster.catalog.read();
    let mut accounts = cluster.accounts.write();
    let (header, name, to) = match of {
        Grantee::User(user) => ("UserIdentity", at(user), format!("USER {}", at(user))),
        Grantee::Role(role) => ("RoleName", role.clone(), format!("ROLE '{role}'")),
    };
    let mut grid = Grid::typed(&[(header, TEXT), ("Catalog", TEXT), ("Grants", TEXT)]);
    let grants = match of {
        Grantee::Role(role) => known_role(&mut accounts, role)?.clone(),
        Grantee::User(user) => {
            let user = known_user(&mut accounts, user)?;
            let mut roles: Vec<String> = user.roles.iter().map(|role| format!("'{role}'")).collect();
            if user.superuser {
                roles.insert(0, "'root'".into());
            }
            if !roles.is_empty() {
                let grant = format!("GRANT {} TO {name}", roles.join(", "));
                grid.push(vec![text(name.as_str()), Value::Null, text(grant)]);
            }
            user.grants.clone()
        }
    };
    for (object, held) in &grants {
        // An object that was dropped is left out.
        let Some(on) = describe(&catalog, *object) else {
            continue;
        };
        let privileges: Vec<&str> = object
            .privileges()
            .iter()
            .copied()
            .filter(|p| held.contains(p))
            .collect();
        let grant = format!("GRANT {} ON {on} TO {to}", privileges.join(", "));
        let catalog = match object {
            Object::AllDatabases | Object::AllTables(None) => Value::Null,
            _ => text(CATALOG),
        };
        grid.push(vec![text(name.as_str()), catalog, text(grant)]);
    }
    Ok(grid)
}

fn describe(catalog: &Catalog, object: Object) -> Option<String> {
    let database = |id: i64| {
        catalog
            .databases
            .iter()
            .find(|(_, db)| db.id == id)
            .map(|(name, _)| name.clone())
    };
    let entity = |wanted: &dyn Fn(&Entity) -> bool| {
        catalog.databases.iter().find_map(|(db, database)| {
            let found = database.entities.iter().find(|(_, entity)| wanted(entity));
            found.map(|(name, _)| format!("{db}.{name}"))
        })
    };
    Some(match object {
        Object::System => "SYSTEM".into(),
        Object::Catalog => format!("CATALOG {CATALOG}"),
        Object::AllDatabases => "ALL DATABASES".into(),
        Object::Database(id) => format!("DATABASE {}", database(id)?),
        Object::AllTables(None) => "ALL TABLES IN ALL DATABASES".into(),
        Object::AllTables(Some(id)) => format!("ALL TABLES IN DATABASE {}", database(id)?),
        Object::AllViews(None) => "ALL VIEWS IN ALL DATABASES".into(),
        Object::AllViews(Some(id)) => format!("ALL VIEWS IN DATABASE {}", database(id)?),
        Object::Table(id) => format!(
            "TABLE {}",
            entity(&|e: &Entity| matches!(e, Entity::Table(t) if t.id == id))?
        ),
        Object::View(id) => format!(
            "VIEW {}",
            entity(&|e: &Entity| matches!(e, Entity::View(v) if v.id == id))?
        ),
    })
}
