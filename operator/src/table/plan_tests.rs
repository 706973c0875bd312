use super::super::jobs::Turn;
use super::super::validate::tests::{refs, table, valid};
use super::super::validate::{Valid, validate};
use super::*;
use crate::backend::starrocks::types::information_schema_type;
use crate::backend::starrocks::{AlterJob, JobState, LiveColumn, LiveView};
use crate::table::ddl::Version;
use tributary_crds::relay::Deletes;

/// A cluster whose table is exactly as wanted.
fn made(valid: &Valid) -> Live {
    let desired = &valid.desired;
    let columns = desired.columns.iter().map(|c| LiveColumn {
        name: c.name.clone(),
        type_text: information_schema_type(&c.column_type),
        column_type: Some(c.column_type.clone()),
        nullable: c.nullable,
        default: None,
        comment: String::new(),
        generated: false,
    });
    Live {
        version: Version::new(3, 5, 2),
        database_exists: true,
        table: Some(LiveTable {
            comment: valid.owner_mark.clone(),
            model: "PRIMARY_KEYS".into(),
            primary_key: desired.primary_key.clone(),
            distribute_key: desired.distribute_by.columns.clone(),
            sort_key: desired.primary_key.clone(),
            columns: columns.collect(),
            ..LiveTable::default()
        }),
        view: valid.view.as_ref().map(|view| LiveView {
            comment: view.comment.clone(),
            columns: view.columns.clone(),
            definition: Some("SELECT … WHERE `_deleted` IS NULL".into()),
        }),
        jobs: vec![],
        clock: None,
    }
}

fn without(mut live: Live, column: &str) -> Live {
    let table = live.table.as_mut().expect("a table");
    table.columns.retain(|c| c.name != column);
    live
}

fn planned(valid: &Valid, live: &Live) -> Planned {
    match plan(valid, live) {
        Outcome::Planned(planned) => planned,
        other => panic!("{other:?}"),
    }
}

fn soft() -> Valid {
    let mut soft = table();
    soft.spec.template.deletes = Some(Deletes::Soft);
    validate(&soft, &refs()).expect("valid")
}

fn texts(planned: &Planned) -> Vec<String> {
    planned.actions.iter().map(Statement::summary).collect()
}

#[test]
fn a_mapping_may_name_what_was_seen() {
    let valid = valid();
    let all = planned(&valid, &made(&valid));
    assert_eq!(all.verified, ["order_id", "total"]);
    assert!(all.actions.is_empty() && all.difference.is_none());
    let fewer = planned(&valid, &without(made(&valid), "total"));
    assert_eq!(fewer.verified, ["order_id"]);
    assert_eq!(texts(&fewer), ["add columns total to shop.orders"]);
    assert!(!fewer.blocks_loads, "the others still load");
}

/// Rule 20: a second ALTER TABLE beside a running one is refused or cancels it; it waits, and says for what.
fn one_operation_at_a_time() -> Result<(), String> {
    let valid = valid();
    let mut live = without(made(&valid), "total");
    live.jobs = vec![AlterJob {
        id: "10023".into(),
        state: JobState::Running,
        message: String::new(),
        created: None,
        finished: None,
    }];
    let waiting = planned(&valid, &live);
    if !waiting.actions.is_empty() {
        return Err(format!("beside a job that runs: {:?}", texts(&waiting)));
    }
    let told = waiting.waiting.ok_or("nothing is said")?;
    assert_eq!(told.columns, ["total"]);
    assert!(matches!(&told.turn, Turn::Watch(job) if job.id == "10023"));
    live.jobs[0].state = JobState::Finished;
    match planned(&valid, &live).actions.len() {
        1 => Ok(()),
        n => Err(format!("{n} actions after another's job ended")),
    }
}

#[test]
fn rule_20() {
    one_operation_at_a_time().unwrap();
}

#[test]
fn rule_20_is_broken_without_its_guard() {
    crate::guard::Guard::OneOperation.assert_red("table::plan::tests::rule_20");
}

#[test]
fn the_same_difference_is_drift_or_an_edit_that_waits() {
    let mut valid = valid();
    let mut live = made(&valid);
    live.table.as_mut().unwrap().primary_key = vec!["total".into()];
    let drift = planned(&valid, &live).difference.expect("told");
    assert_eq!(drift.reason, R::LiveDrift);
    valid.edited = true;
    let edit = planned(&valid, &live);
    assert!(edit.blocks_loads && edit.actions.is_empty());
    let told = edit.difference.expect("told");
    assert_eq!(told.reason, R::AwaitingApproval);
    assert!(
        told.text
            .contains("class Rebuild needs an approved SchemaChange, and this version makes none yet")
    );
    // What no SchemaChange could do either.
    let mut live = made(&valid);
    live.table.as_mut().unwrap().columns[0].generated = true;
    assert_eq!(
        planned(&valid, &live).difference.expect("told").reason,
        R::DDLRefused
    );
}

#[test]
fn a_column_that_was_taken_away_is_not_forgotten() {
    let mut valid = valid();
    valid.seen = ["order_id", "total"].map(str::to_owned).into();
    let told = planned(&valid, &without(made(&valid), "total"));
    assert_eq!(
        (told.actions.len(), told.taken_away),
        (0, vec!["total".to_owned()])
    );
    assert_eq!(told.difference.expect("told").reason, R::LiveDrift);
}

#[test]
fn the_view_of_a_soft_deleting_table_follows_it() {
    let valid = soft();
    assert_eq!(texts(&planned(&valid, &made(&valid))), Vec::<String>::new());
    let mut live = made(&valid);
    live.view = None;
    assert_eq!(texts(&planned(&valid, &live)), ["create view shop.orders"]);
    live = made(&valid);
    live.view.as_mut().unwrap().columns.pop();
    assert_eq!(texts(&planned(&valid, &live)), ["replace view shop.orders"]);
    // It shows what the table has, not what it will have.
    let mut live = without(made(&valid), "total");
    live.view.as_mut().unwrap().columns.retain(|c| c != "total");
    assert_eq!(
        texts(&planned(&valid, &live)),
        ["add columns total to shop.orders__rows"]
    );
    let nothing = Live {
        table: None,
        view: None,
        database_exists: false,
        ..made(&valid)
    };
    assert_eq!(
        texts(&planned(&valid, &nothing)),
        [
            "create database shop",
            "create table shop.orders__rows",
            "create view shop.orders"
        ]
    );
}

#[test]
fn a_name_that_is_not_our_view_is_a_conflict() {
    let valid = soft();
    let conflict = |view: LiveView| {
        let live = Live {
            view: Some(view),
            ..made(&valid)
        };
        match plan(&valid, &live) {
            Outcome::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let ours = made(&valid).view.unwrap();
    let said = conflict(LiveView {
        definition: None,
        ..ours.clone()
    });
    assert!(
        said.contains("shop.orders should be a view and is a table: deletes is fixed"),
        "{said}"
    );
    let said = conflict(LiveView {
        comment: "tributary:x/y/z".into(),
        ..ours
    });
    assert!(said.contains("a view of tributary:x/y/z"), "{said}");
}
