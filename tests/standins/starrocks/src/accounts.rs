//! Users, roles and what they may do. A grant on a table holds its id, so it stays with the data when a table is renamed
//! or swapped (starrocks-ddl-and-schema-evolution.md §1.4, SWAP).

use std::collections::{BTreeMap, BTreeSet};

use crate::table::catalog::{Catalog, Entity};

/// What a privilege is granted on; ids are those of databases, tables and views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    System,
    Catalog,
    AllDatabases,
    Database(i64),
    /// `ALL TABLES IN ALL DATABASES`, or in one.
    AllTables(Option<i64>),
    Table(i64),
    AllViews(Option<i64>),
    View(i64),
}

/// What a statement touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    System,
    Catalog,
    Database(i64),
    Table { db: i64, id: i64 },
    View { db: i64, id: i64 },
}

impl Object {
    fn covers(self, target: Target) -> bool {
        match (self, target) {
            (Self::System, Target::System)
            | (Self::Catalog, Target::Catalog)
            | (Self::AllDatabases, Target::Database(_))
            | (Self::AllTables(None), Target::Table { .. })
            | (Self::AllViews(None), Target::View { .. }) => true,
            (Self::Database(a), Target::Database(b))
            | (Self::AllTables(Some(a)), Target::Table { db: b, .. })
            | (Self::AllViews(Some(a)), Target::View { db: b, .. })
            | (Self::Table(a), Target::Table { id: b, .. })
            | (Self::View(a), Target::View { id: b, .. }) => a == b,
            _ => false,
        }
    }

    /// Privileges that can be granted on it, in the order SHOW GRANTS prints them.
    pub fn privileges(self) -> &'static [&'static str] {
        match self {
            Self::System => &["GRANT", "NODE", "OPERATE"],
            Self::Catalog => &["USAGE", "CREATE DATABASE", "ALTER", "DROP"],
            Self::AllDatabases | Self::Database(_) => &[
                "CREATE TABLE",
                "CREATE VIEW",
                "CREATE FUNCTION",
                "CREATE MATERIALIZED VIEW",
                "ALTER",
                "DROP",
            ],
            Self::AllTables(_) | Self::Table(_) => &[
                "DELETE", "DROP", "INSERT", "SELECT", "ALTER", "EXPORT", "UPDATE", "REFRESH",
            ],
            Self::AllViews(_) | Self::View(_) => &["SELECT", "ALTER", "DROP"],
        }
    }
}

pub type Grants = BTreeMap<Object, BTreeSet<&'static str>>;

#[derive(Debug, Default)]
pub struct User {
    pub password: String,
    /// Made on the command line: may do everything.
    pub superuser: bool,
    pub roles: BTreeSet<String>,
    /// Active after login.
    pub default_roles: BTreeSet<String>,
    pub grants: Grants,
}

#[derive(Debug)]
pub struct Accounts {
    pub users: BTreeMap<String, User>,
    pub roles: BTreeMap<String, Grants>,
}

/// Who asks: the user and the roles active in the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub roles: BTreeSet<String>,
}

impl Accounts {
    pub fn new(superusers: BTreeMap<String, String>) -> Self {
        let user = |password| User {
            password,
            superuser: true,
            ..User::default()
        };
        let users = superusers
            .into_iter()
            .map(|(name, password)| (name, user(password)));
        Self {
            users: users.collect(),
            roles: builtin_roles(),
        }
    }

    /// The identity after login: its default roles are active.
    pub fn login(&self, user: &str) -> Identity {
        let found = self.users.get(user);
        Identity {
            user: user.to_owned(),
            roles: found.map(|u| u.default_roles.clone()).unwrap_or_default(),
        }
    }

    pub fn is_superuser(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.superuser)
    }

    /// What `who` may do on `target`: superusers everything.
    fn held<'a>(
        &'a self,
        who: &'a Identity,
        target: Target,
    ) -> impl Iterator<Item = &'a BTreeSet<&'static str>> {
        let own = self.users.get(&who.user).into_iter().map(|user| &user.grants);
        let by_role = who.roles.iter().filter_map(|role| self.roles.get(role));
        let covering = move |(object, held): (&Object, &'a BTreeSet<&'static str>)| {
            object.covers(target).then_some(held)
        };
        own.chain(by_role).flatten().filter_map(covering)
    }

    pub fn allows(&self, who: &Identity, privilege: &str, target: Target) -> bool {
        self.is_superuser(&who.user) || self.held(who, target).any(|held| held.contains(privilege))
    }

    /// Any privilege on it.
    pub fn allows_any(&self, who: &Identity, target: Target) -> bool {
        self.is_superuser(&who.user) || self.held(who, target).any(|held| !held.is_empty())
    }

    /// The text of error 5203.
    pub fn denied(&self, who: &Identity, privilege: &str, on: &str) -> String {
        let list = |roles: &[&String]| {
            if roles.is_empty() {
                "NONE".into()
            } else {
                java_list(roles)
            }
        };
        let (active, inactive) = self.roles_of(who);
        format!(
            "Access denied; you need (at least one of) the {privilege} privilege(s) on {on} for this operation. {}",
            hint(&list(&active), &list(&inactive))
        )
    }

    /// What FE's HTTP door says when the grants do not suffice (stream-load-and-relay.md §1.1).
    pub fn denied_http(&self, who: &Identity) -> String {
        let (active, inactive) = self.roles_of(who);
        let hint = hint(&java_list(&active), &java_list(&inactive));
        format!("Access denied for user '{}'@'%'. {hint}", who.user)
    }

    /// Roles active, and granted but not active.
    fn roles_of<'a>(&'a self, who: &'a Identity) -> (Vec<&'a String>, Vec<&'a String>) {
        let granted = self.users.get(&who.user).map(|user| &user.roles);
        let inactive = granted
            .into_iter()
            .flatten()
            .filter(|role| !who.roles.contains(*role));
        (who.roles.iter().collect(), inactive.collect())
    }
}

fn builtin_roles() -> BTreeMap<String, Grants> {
    let all = |objects: &[Object]| -> Grants {
        let every = objects
            .iter()
            .map(|o| (*o, o.privileges().iter().copied().collect()));
        every.collect()
    };
    let data = [
        Object::Catalog,
        Object::AllDatabases,
        Object::AllTables(None),
        Object::AllViews(None),
    ];
    let system = |privilege| Grants::from([(Object::System, BTreeSet::from([privilege]))]);
    let mut root = all(&data);
    root.extend(all(&[Object::System]));
    let roles = [
        ("root", root),
        ("db_admin", all(&data)),
        ("user_admin", system("GRANT")),
        ("cluster_admin", system("OPERATE")),
        ("public", Grants::new()),
    ];
    roles
        .into_iter()
        .map(|(name, grants)| (name.to_owned(), grants))
        .collect()
}

fn java_list(roles: &[&String]) -> String {
    let names: Vec<&str> = roles.iter().map(|r| r.as_str()).collect();
    format!("[{}]", names.join(", "))
}

fn hint(active: &str, inactive: &str) -> String {
    format!(
        "Please ask the admin to grant permission(s) or try activating existing roles using <set [default] role>. Current \
         role(s): {active}. Inactivated role(s): {inactive}."
    )
}

impl Catalog {
    /// What a name is, for the checks; none when there is no such object.
    pub fn target(&self, db: &str, name: &str) -> Option<Target> {
        let database = self.databases.get(db)?;
        Some(match database.entities.get(name)? {
            Entity::Table(table) => Target::Table {
                db: database.id,
                id: table.id,
            },
            Entity::View(view) => Target::View {
                db: database.id,
                id: view.id,
            },
        })
    }

    pub fn database_target(&self, db: &str) -> Option<Target> {
        self.databases.get(db).map(|found| Target::Database(found.id))
    }

    /// The database and everything in it: a privilege on any of them shows the database.
    pub fn targets_in(&self, db: &str) -> Vec<Target> {
        let Some(database) = self.databases.get(db) else {
            return Vec::new();
        };
        let inside = database.entities.keys().filter_map(|name| self.target(db, name));
        std::iter::once(Target::Database(database.id))
            .chain(inside)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_count_only_while_active() {
        let mut accounts = Accounts::new(BTreeMap::new());
        let select = Grants::from([(Object::AllTables(Some(1)), BTreeSet::from(["SELECT"]))]);
        accounts.roles.insert("reader".into(), select);
        let user = User {
            roles: BTreeSet::from(["reader".to_owned()]),
            ..User::default()
        };
        accounts.users.insert("u".into(), user);
        let mut who = accounts.login("u");
        let table = Target::Table { db: 1, id: 7 };
        assert!(!accounts.allows(&who, "SELECT", table));
        assert!(
            accounts
                .denied(&who, "SELECT", "TABLE t")
                .ends_with("Current role(s): NONE. Inactivated role(s): [reader].")
        );
        who.roles.insert("reader".into());
        assert!(accounts.allows(&who, "SELECT", table));
        assert!(!accounts.allows(&who, "INSERT", table));
        assert!(!accounts.allows(&who, "SELECT", Target::Table { db: 2, id: 7 }));
        assert!(!accounts.allows(&who, "SELECT", Target::View { db: 1, id: 8 }));
    }
}
