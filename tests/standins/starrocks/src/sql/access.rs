//! What a session may do: every statement's privilege, and which names it sees.

use super::ast::{ObjectName, Show, Statement};
use super::error::{ErrorCode, SqlError};
use super::session::Session;
use crate::accounts::{Identity, Target};

impl Session {
    pub fn identity(&self) -> Identity {
        let mut identity = self.cluster.accounts.read().login(&self.user);
        if let Some(roles) = &self.roles {
            identity.roles.clone_from(roles);
        }
        identity
    }

    /// Refuses what the session's user may not do. A name that does not exist is left to the statement itself.
    pub fn authorize(&self, statement: &Statement) -> Result<(), SqlError> {
        if self.is_superuser() {
            return Ok(());
        }
        match statement {
            Statement::CreateDatabase { .. } => self.need(
                "CREATE DATABASE",
                Some(Target::Catalog),
                "CATALOG default_catalog",
            ),
            Statement::DropDatabase { name, .. } => self.need_database("DROP", name),
            Statement::CreateTable(create) => self.need_in_database("CREATE TABLE", &create.name),
            Statement::CreateTableLike { name, .. } | Statement::RecoverTable(name) => {
                self.need_in_database("CREATE TABLE", name)
            }
            Statement::CreateView { name, .. } => self.need_in_database("CREATE VIEW", name),
            Statement::DropTable { name, .. } | Statement::DropView { name, .. } => {
                self.need_object("DROP", name)
            }
            Statement::TruncateTable(name) | Statement::Delete { table: name, .. } => {
                self.need_object("DELETE", name)
            }
            Statement::AlterTable { name, .. } | Statement::CancelAlter { name, .. } => {
                self.need_object("ALTER", name)
            }
            Statement::Insert { table, .. } => self.need_object("INSERT", table),
            Statement::Describe(name) => self.need_any(name),
            Statement::SetConfig(_) => self.need("OPERATE", Some(Target::System), "SYSTEM"),
            Statement::Account(account) if !account.is_own() => {
                self.need("GRANT", Some(Target::System), "SYSTEM")
            }
            Statement::Show(what, _) => self.authorize_show(what),
            _ => Ok(()),
        }
    }

    fn authorize_show(&self, what: &Show) -> Result<(), SqlError> {
        match what {
            Show::Backends | Show::Frontends | Show::ComputeNodes | Show::Proc(_) | Show::FrontendConfig => {
                self.need("OPERATE", Some(Target::System), "SYSTEM")
            }
            Show::Users | Show::Roles | Show::Grants(Some(_)) => {
                self.need("GRANT", Some(Target::System), "SYSTEM")
            }
            Show::Columns { table, .. }
            | Show::CreateTable(table)
            | Show::CreateView(table)
            | Show::Partitions(table) => self.need_any(table),
            Show::Tables { db: Some(db), .. } | Show::AlterTableColumn { db: Some(db) } => self.enter(db),
            _ => Ok(()),
        }
    }

    /// USE needs any privilege on the database or in it.
    pub fn enter(&self, db: &str) -> Result<(), SqlError> {
        if self.sees_database(db) {
            return Ok(());
        }
        Err(self.denied("ANY", &format!("DATABASE {db}")))
    }

    pub fn is_superuser(&self) -> bool {
        self.cluster.accounts.read().is_superuser(&self.user)
    }

    pub fn sees_database(&self, db: &str) -> bool {
        if self.is_superuser()
            || super::ddl::SYSTEM_DATABASES
                .iter()
                .any(|s| s.eq_ignore_ascii_case(db))
        {
            return true;
        }
        let targets = self.cluster.catalog.read().targets_in(db);
        let who = self.identity();
        let accounts = self.cluster.accounts.read();
        // A database that does not exist is reported as such.
        targets.is_empty()
            || targets
                .into_iter()
                .any(|target| accounts.allows_any(&who, target))
    }

    /// information_schema and SHOW TABLES list what the user has any privilege on.
    pub fn sees_object(&self, db: &str, name: &str) -> bool {
        if self.is_superuser() {
            return true;
        }
        let target = self.cluster.catalog.read().target(db, name);
        let who = self.identity();
        target.is_none_or(|target| self.cluster.accounts.read().allows_any(&who, target))
    }

    pub fn may_read(&self, db: &str, name: &str) -> Result<(), SqlError> {
        let object = ObjectName {
            db: Some(db.to_owned()),
            name: name.to_owned(),
        };
        self.need_object("SELECT", &object)
    }

    fn need(&self, privilege: &str, target: Option<Target>, on: &str) -> Result<(), SqlError> {
        let who = self.identity();
        let allowed =
            target.is_none_or(|target| self.cluster.accounts.read().allows(&who, privilege, target));
        if allowed {
            Ok(())
        } else {
            Err(self.denied(privilege, on))
        }
    }

    fn need_database(&self, privilege: &str, db: &str) -> Result<(), SqlError> {
        let target = self.cluster.catalog.read().database_target(db);
        self.need(privilege, target, &format!("DATABASE {db}"))
    }

    fn need_in_database(&self, privilege: &str, name: &ObjectName) -> Result<(), SqlError> {
        match name.db.as_deref().or(self.database.as_deref()) {
            Some(db) => self.need_database(privilege, db),
            None => Ok(()),
        }
    }

    fn target(&self, name: &ObjectName) -> Option<Target> {
        let db = name.db.as_deref().or(self.database.as_deref())?;
        self.cluster.catalog.read().target(db, &name.name)
    }

    fn need_object(&self, privilege: &str, name: &ObjectName) -> Result<(), SqlError> {
        let target = self.target(name);
        self.need(privilege, target, &described(target, &name.name))
    }

    fn need_any(&self, name: &ObjectName) -> Result<(), SqlError> {
        let target = self.target(name);
        let who = self.identity();
        let allowed = target.is_none_or(|target| self.cluster.accounts.read().allows_any(&who, target));
        if allowed {
            return Ok(());
        }
        Err(self.denied("ANY", &described(target, &name.name)))
    }

    fn denied(&self, privilege: &str, on: &str) -> SqlError {
        let who = self.identity();
        let message = self.cluster.accounts.read().denied(&who, privilege, on);
        SqlError::new(ErrorCode::AccessDenied, message)
    }
}

fn described(target: Option<Target>, name: &str) -> String {
    match target {
        Some(Target::View { .. }) => format!("VIEW {name}"),
        _ => format!("TABLE {name}"),
    }
}
