//! Which roles may read a table: what is missing is granted, what the spec named once and names no more is revoked. Privileges
//! that somebody else gave are nobody's business here.

use std::collections::BTreeMap;

use tributary_crds::status::{TableReason as R, Verdict};
use tributary_crds::template::{Drift, Grant, Privilege};

use super::ddl::{GrantStatement, Object, Statement, TableName};
use super::validate::Valid;
use crate::backend::starrocks::StarRocksClient;
use crate::backend::{BackendError, BackendResult};

/// The GRANT statements of each role, or why they cannot be read.
pub type Roles = BTreeMap<String, Result<Vec<String>, String>>;

/// What a status records and says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What is granted in the spec's name.
    pub recorded: Vec<Grant>,
    pub verdict: Verdict<R>,
}

/// Looks, runs what is missing, and looks again.
pub async fn align(valid: &Valid, client: &StarRocksClient) -> Result<Granted, BackendError> {
    let look = async || -> BackendResult<Roles> {
        let mut roles = Roles::new();
        for grant in valid.grants.iter().chain(&valid.granted) {
            if !roles.contains_key(&grant.role) {
                roles.insert(grant.role.clone(), client.role_grants(&grant.role).await?);
            }
        }
        Ok(roles)
    };
    let roles = look().await?;
    let plan = plan(valid, &roles);
    if plan.actions.is_empty() {
        return Ok(judge(valid, &roles));
    }
    for statement in &plan.actions {
        tracing::info!(statement = statement.summary(), "DDL");
        client.execute(statement).await?;
    }
    Ok(judge(valid, &look().await?))
}

/// What is missing, what is too much, and what is only told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    actions: Vec<Statement>,
    unreadable: Vec<String>,
    taken_away: Vec<String>,
}

fn plan(valid: &Valid, roles: &Roles) -> Plan {
    let (object, name) = valid.readable();
    let statement = |role: &str, privileges: Vec<Privilege>| GrantStatement {
        object,
        name: name.clone(),
        role: role.to_owned(),
        privileges,
    };
    let mut plan = Plan::default();
    for grant in &valid.grants {
        let held = match roles.get(&grant.role) {
            Some(Ok(lines)) => lines,
            Some(Err(why)) => {
                plan.unreadable.push(why.clone());
                continue;
            }
            None => continue,
        };
        let before = recorded(&valid.granted, &grant.role);
        let (taken, missing): (Vec<Privilege>, Vec<Privilege>) = grant
            .privileges
            .iter()
            .copied()
            .filter(|p| !covers(held, *p, object, name))
            .partition(|p| valid.drift == Drift::Observe && before.contains(p));
        if !taken.is_empty() {
            plan.taken_away.push(statement(&grant.role, taken).text());
        }
        if !missing.is_empty() {
            plan.actions
                .push(Statement::Grant(statement(&grant.role, missing)));
        }
    }
    for grant in &valid.granted {
        let Some(Ok(held)) = roles.get(&grant.role) else {
            continue;
        };
        let wanted = recorded(&valid.grants, &grant.role);
        let surplus: Vec<Privilege> = grant
            .privileges
            .iter()
            .copied()
            .filter(|p| !wanted.contains(p) && names(held, *p, object, name))
            .collect();
        if !surplus.is_empty() {
            plan.actions
                .push(Statement::Revoke(statement(&grant.role, surplus)));
        }
    }
    plan
}

fn judge(valid: &Valid, roles: &Roles) -> Granted {
    let (object, name) = valid.readable();
    let plan = plan(valid, roles);
    let recorded = valid
        .grants
        .iter()
        .filter_map(|grant| {
            let before = recorded(&valid.granted, &grant.role);
            let lines = roles.get(&grant.role).and_then(|r| r.as_ref().ok());
            let ours =
                |p: &&Privilege| before.contains(p) || lines.is_some_and(|l| covers(l, **p, object, name));
            let privileges: Vec<Privilege> = grant.privileges.iter().filter(ours).copied().collect();
            (!privileges.is_empty()).then(|| Grant {
                role: grant.role.clone(),
                privileges,
            })
        })
        .collect();
    let verdict = if let Some(why) = plan.unreadable.first() {
        Verdict::bad(
            R::DDLRefused,
            format!("{why}. Create the role, or take it out of grants."),
        )
    } else if let Some(text) = plan.taken_away.first() {
        Verdict::bad(
            R::LiveDrift,
            format!("{text} was granted and is gone (drift is Observe; Enforce would grant it again)."),
        )
    } else if let Some(action) = plan.actions.first() {
        Verdict::bad(R::LiveDrift, format!("{} had no effect yet.", action.summary()))
    } else if valid.grants.is_empty() {
        Verdict::good(R::NotConfigured, "")
    } else {
        Verdict::good(R::InSync, "")
    };
    Granted { recorded, verdict }
}

fn recorded(grants: &[Grant], role: &str) -> Vec<Privilege> {
    let of_role = grants.iter().filter(|g| g.role == role);
    of_role.flat_map(|g| g.privileges.iter().copied()).collect()
}

/// Whether one of a role's GRANT statements gives this privilege here, named or as one of many.
fn covers(lines: &[String], privilege: Privilege, object: Object, name: &TableName) -> bool {
    let all = format!("ALL {}S IN ", object.as_str());
    let database = format!("{all}DATABASE {}", name.database);
    let everywhere = format!("{all}ALL DATABASES");
    lines.iter().filter_map(|l| parse(l)).any(|(privileges, target)| {
        let here = target.eq_ignore_ascii_case(&everywhere)
            || is_target(&target, &database)
            || is_target(&target, &named(object, name));
        here && gives(&privileges, privilege)
    })
}

/// Whether one gives it on this very object: only such a one can be revoked from it.
fn names(lines: &[String], privilege: Privilege, object: Object, name: &TableName) -> bool {
    let wanted = named(object, name);
    lines
        .iter()
        .filter_map(|l| parse(l))
        .any(|(privileges, target)| is_target(&target, &wanted) && gives(&privileges, privilege))
}

fn named(object: Object, name: &TableName) -> String {
    format!("{} {name}", object.as_str())
}

/// Keywords in any case, names as they are: they are case-sensitive, and keywords are not long enough to hide it.
fn is_target(found: &str, wanted: &str) -> bool {
    let (found_name, wanted_name) = (found.rsplit(' ').next(), wanted.rsplit(' ').next());
    found.eq_ignore_ascii_case(wanted) && found_name == wanted_name
}

fn gives(privileges: &[String], wanted: Privilege) -> bool {
    privileges
        .iter()
        .any(|p| p == wanted.as_str() || p == "ALL" || p == "ALL PRIVILEGES")
}

/// `GRANT SELECT, INSERT ON TABLE a.b TO ROLE 'r'` → the privileges and `TABLE a.b`, without quotes.
fn parse(line: &str) -> Option<(Vec<String>, String)> {
    let plain = line.replace('`', "");
    let rest = plain.trim().strip_prefix("GRANT ")?;
    let (privileges, rest) = rest.split_once(" ON ")?;
    let (target, _) = rest.rsplit_once(" TO ROLE ")?;
    let privileges = privileges.split(',').map(|p| p.trim().to_ascii_uppercase());
    Some((privileges.collect(), target.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::valid;
    use super::*;

    fn grant(role: &str, privileges: &[Privilege]) -> Grant {
        Grant {
            role: role.into(),
            privileges: privileges.to_vec(),
        }
    }

    fn roles(lines: &[&str]) -> Roles {
        let lines = lines.iter().map(|l| (*l).to_owned()).collect();
        Roles::from([("readers".to_owned(), Ok(lines))])
    }

    fn texts(valid: &Valid, roles: &Roles) -> Vec<String> {
        plan(valid, roles)
            .actions
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_is_missing_is_granted_and_what_is_there_in_any_form_is_not() {
        use Privilege::{Export, Select};
        let mut table = valid();
        table.grants = vec![grant("readers", &[Select, Export])];
        assert_eq!(
            texts(&table, &roles(&[])),
            ["GRANT SELECT, EXPORT ON TABLE `shop`.`orders` TO ROLE `readers`"]
        );
        let one = roles(&["GRANT SELECT, INSERT ON TABLE shop.orders TO ROLE 'readers'"]);
        assert_eq!(
            texts(&table, &one),
            ["GRANT EXPORT ON TABLE `shop`.`orders` TO ROLE `readers`"]
        );
        for line in [
            "GRANT SELECT, EXPORT ON TABLE shop.orders TO ROLE 'readers'",
            "GRANT ALL ON ALL TABLES IN DATABASE shop TO ROLE 'readers'",
            "GRANT SELECT, EXPORT ON ALL TABLES IN ALL DATABASES TO ROLE 'readers'",
        ] {
            let roles = roles(&[line]);
            assert_eq!(texts(&table, &roles), Vec::<String>::new(), "{line}");
            assert_eq!(judge(&table, &roles).verdict.reason, R::InSync);
        }
        let other = roles(&["GRANT SELECT, EXPORT ON TABLE shop.Orders TO ROLE 'readers'"]);
        assert_eq!(texts(&table, &other).len(), 1, "names are case-sensitive");
    }

    #[test]
    fn only_what_the_spec_once_named_is_revoked() {
        let held = roles(&["GRANT SELECT ON TABLE shop.orders TO ROLE 'readers'"]);
        let mut table = valid();
        assert_eq!(texts(&table, &held), Vec::<String>::new(), "somebody else's");
        table.granted = vec![grant("readers", &[Privilege::Select])];
        assert_eq!(
            texts(&table, &held),
            ["REVOKE SELECT ON TABLE `shop`.`orders` FROM ROLE `readers`"]
        );
        assert_eq!(texts(&table, &roles(&[])), Vec::<String>::new(), "already gone");
        assert_eq!(judge(&table, &roles(&[])).recorded, []);
    }

    #[test]
    fn what_others_took_away_is_told_or_restored() {
        let mut table = valid();
        table.grants = vec![grant("readers", &[Privilege::Select])];
        table.granted = table.grants.clone();
        assert_eq!(texts(&table, &roles(&[])), Vec::<String>::new());
        let told = judge(&table, &roles(&[]));
        assert_eq!(told.verdict.reason, R::LiveDrift);
        assert_eq!(told.recorded, table.grants, "it stays known as ours");
        table.drift = Drift::Enforce;
        assert_eq!(texts(&table, &roles(&[])).len(), 1);
    }

    #[test]
    fn an_unknown_role_is_said_and_stops_nothing_else() {
        let mut table = valid();
        table.grants = vec![
            grant("nobody", &[Privilege::Select]),
            grant("readers", &[Privilege::Select]),
        ];
        let mut all = roles(&[]);
        all.insert("nobody".into(), Err("cannot find role nobody".into()));
        assert_eq!(texts(&table, &all).len(), 1);
        let said = judge(&table, &all).verdict;
        assert_eq!(said.reason, R::DDLRefused);
        assert!(said.message.contains("cannot find role nobody. Create the role"));
    }
}
