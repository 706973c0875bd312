use std::collections::BTreeMap;

use super::super::difference::ChangeClass;
use super::super::statement::HashDistribution;
use super::*;
use tributary_crds::column::ColumnType;

const MARK: &str = "tributary:prod/tenant-acme/acme.orders.orders";

fn ty(text: &str) -> ColumnType {
    text.parse().expect(text)
}

fn desired() -> CreateTable {
    CreateTable {
        name: TableName::new("tenant_acme", "orders"),
        columns: vec![
            ColumnDef::not_null("order_id", ty("VARCHAR(24)")),
            ColumnDef::nullable("status", ty("VARCHAR(64)")),
            ColumnDef::nullable("total", ty("DECIMAL(38,2)")),
            ColumnDef::not_null("_ver", ty("BIGINT")),
            ColumnDef::nullable("_extra", ty("JSON")),
        ],
        primary_key: vec!["order_id".into()],
        comment: Some(with_owner_mark(Some("orders of acme"), MARK)),
        partition_by: None,
        distribute_by: HashDistribution {
            columns: vec!["order_id".into()],
            buckets: None,
        },
        order_by: Vec::new(),
        properties: BTreeMap::from([("replication_num".into(), "1".into())]),
    }
}

/// The table that StarRocks would show after `create` ran.
fn created(create: &CreateTable) -> LiveTable {
    LiveTable {
        database: create.name.database.clone(),
        table: create.name.table.clone(),
        comment: create.comment.clone().unwrap_or_default(),
        table_id: Some("10482".into()),
        model: "PRIMARY_KEYS".into(),
        primary_key: create.primary_key.clone(),
        distribute_key: create.distribute_by.columns.clone(),
        sort_key: create.primary_key.clone(),
        properties: BTreeMap::from([("fast_schema_evolution".into(), "true".into())]),
        columns: create
            .columns
            .iter()
            .map(|c| LiveColumn {
                name: c.name.clone(),
                type_text: crate::backend::starrocks::types::information_schema_type(&c.column_type),
                column_type: Some(c.column_type.clone()),
                nullable: c.nullable,
                default: None,
                comment: String::new(),
                generated: false,
            })
            .collect(),
        ..LiveTable::default()
    }
}

fn planned(live: Option<&LiveTable>, adoption: Adoption) -> Result<Plan, Refusal> {
    planned_with(live, adoption, Drift::Observe, &[])
}

fn planned_with(
    live: Option<&LiveTable>,
    adoption: Adoption,
    drift: Drift,
    seen: &[&str],
) -> Result<Plan, Refusal> {
    let desired = desired();
    let seen = seen.iter().map(|c| (*c).to_owned()).collect();
    plan(&PlanInput {
        desired: &desired,
        owner_mark: MARK,
        adoption,
        drift,
        seen: &seen,
        version: Version::new(3, 5, 2),
        database_exists: live.is_some(),
        live,
    })
}

#[test]
fn nothing_there_means_database_and_table() {
    let plan = planned(None, Adoption::IfIdentical).expect("plan");
    let texts: Vec<String> = plan.actions.iter().map(Statement::summary).collect();
    assert_eq!(
        texts,
        ["create database tenant_acme", "create table tenant_acme.orders"]
    );
}

#[test]
fn what_was_created_needs_nothing() {
    let live = created(&desired());
    assert!(planned(Some(&live), Adoption::Never).expect("plan").is_in_sync());
}

#[test]
fn missing_value_columns_are_added_in_one_statement() {
    let mut live = created(&desired());
    live.columns.retain(|c| !c.nullable || c.name == "_extra");
    let plan = planned(Some(&live), Adoption::Never).expect("plan");
    assert_eq!(
        plan.actions[0].to_string(),
        "ALTER TABLE `tenant_acme`.`orders` ADD COLUMN `status` VARCHAR(64) NULL, ADD COLUMN `total` DECIMAL(38,2) NULL"
    );
    assert_eq!(plan.differences, []);
}

#[test]
fn what_others_took_away_is_told_and_restored_only_when_asked() {
    let mut live = created(&desired());
    live.columns.retain(|c| c.name != "status");
    let seen = ["order_id", "status", "total"];
    let told = planned_with(Some(&live), Adoption::Never, Drift::Observe, &seen).expect("plan");
    assert_eq!(told.actions, []);
    assert_eq!(told.differences[0].class(), ChangeClass::Additive);
    assert!(
        told.difference_text()
            .unwrap()
            .starts_with("columns (status) were there and are gone")
    );
    let restored = planned_with(Some(&live), Adoption::Never, Drift::Enforce, &seen).expect("plan");
    assert_eq!((restored.actions.len(), restored.differences.len()), (1, 0));
    // Never seen: the spec was edited.
    let added = planned_with(Some(&live), Adoption::Never, Drift::Observe, &["order_id"]).expect("plan");
    assert_eq!(added.actions.len(), 1);
    // The whole table: an empty one in its place would look healthy.
    let gone = planned_with(None, Adoption::Never, Drift::Observe, &seen).unwrap_err();
    assert!(gone.to_string().contains("was there and is gone"), "{gone}");
    let again = planned_with(None, Adoption::Never, Drift::Enforce, &seen).expect("plan");
    assert!(matches!(
        again.actions[..],
        [Statement::CreateDatabase { .. }, Statement::CreateTable(_)]
    ));
}

#[test]
fn every_difference_has_a_class_and_says_whether_loads_must_wait() {
    let names = || vec!["a".to_owned()];
    let type_of = |wanted: &str, live: &str| Difference::Type {
        name: "a".into(),
        wanted: ty(wanted),
        live: live.into(),
    };
    use ChangeClass as C;
    for (difference, class, blocks) in [
        (
            Difference::Model {
                live: "DUP_KEYS".into(),
            },
            C::Rebuild,
            true,
        ),
        (
            Difference::PrimaryKey {
                wanted: names(),
                live: vec![],
            },
            C::Rebuild,
            true,
        ),
        (
            Difference::Distribution {
                wanted: names(),
                live: vec![],
            },
            C::Rebuild,
            false,
        ),
        (
            Difference::Partition {
                wanted: names(),
                live: vec![],
            },
            C::Rebuild,
            false,
        ),
        (
            Difference::SortKey {
                wanted: names(),
                live: vec![],
            },
            C::Rebuild,
            false,
        ),
        (Difference::Buckets { wanted: 2, live: 1 }, C::Rebuild, false),
        (type_of("BIGINT", "int(11)"), C::Widening, true),
        (type_of("INT", "bigint(20)"), C::Conflicting, false),
        (type_of("INT", "varchar(9)"), C::Conflicting, true),
        (
            Difference::Nullability {
                name: "a".into(),
                wanted_nullable: true,
            },
            C::Widening,
            true,
        ),
        (
            Difference::Nullability {
                name: "a".into(),
                wanted_nullable: false,
            },
            C::Rebuild,
            false,
        ),
        (
            Difference::MissingColumn {
                name: "a".into(),
                why: "",
            },
            C::Rebuild,
            true,
        ),
        (Difference::TakenAway { names: names() }, C::Additive, false),
        (
            Difference::ExtraColumn {
                name: "a".into(),
                blocks_loads: false,
            },
            C::Subtractive,
            false,
        ),
        (
            Difference::ExtraColumn {
                name: "a".into(),
                blocks_loads: true,
            },
            C::Subtractive,
            true,
        ),
        (Difference::Generated { name: "a".into() }, C::Refused, true),
        (
            Difference::Spelling {
                wanted: "a".into(),
                live: "A".into(),
            },
            C::Refused,
            false,
        ),
    ] {
        assert_eq!(
            (difference.class(), difference.blocks_loads()),
            (class, blocks),
            "{difference}"
        );
    }
}

#[test]
fn everything_else_is_a_finding_and_never_an_action() {
    let mut live = created(&desired());
    live.primary_key = vec!["_ver".into()];
    live.distribute_key = vec!["_ver".into()];
    live.sort_key = vec!["status".into()];
    live.partition_key = vec!["status".into()];
    live.columns[1].column_type = Some(ty("BIGINT"));
    live.columns[1].type_text = "bigint(20)".into();
    live.columns[2].nullable = false;
    live.columns.remove(3);
    live.columns.push(LiveColumn {
        name: "foreign".into(),
        type_text: "int(11)".into(),
        column_type: Some(ty("INT")),
        nullable: false,
        default: None,
        comment: String::new(),
        generated: false,
    });
    let plan = planned(Some(&live), Adoption::Never).expect("plan");
    assert_eq!(plan.actions, []);
    assert_eq!(
        plan.difference_text().expect("text"),
        "primary key is (_ver), not (order_id); distributed by (_ver), not (order_id); \
         partitioned by (status), not (); sort key is (status), not (order_id); \
         column status is bigint(20), not VARCHAR(64); column total is NOT NULL, not nullable; \
         column _ver is missing; a NOT NULL column cannot be added to a table with rows; \
         column foreign is not declared, is NOT NULL and has no default: loads fail"
    );
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    let mut live = created(&desired());
    live.comment = "x tributary:prod/tenant-globex/other".into();
    assert!(matches!(
        planned(Some(&live), Adoption::IfCompatible),
        Err(Refusal::OwnedByOther { .. })
    ));
}

#[test]
fn adoption_follows_its_policy_and_marks_first() {
    let mut bare = created(&desired());
    bare.comment = "made by hand".into();
    assert!(planned(Some(&bare), Adoption::Never).is_err());
    let plan = planned(Some(&bare), Adoption::IfIdentical).expect("identical");
    assert_eq!(
        plan.actions[0].to_string(),
        format!("ALTER TABLE `tenant_acme`.`orders` COMMENT = \"made by hand {MARK}\"")
    );

    bare.columns.retain(|c| c.name != "status");
    bare.columns[0].type_text = "varchar(64)".into();
    bare.columns[0].column_type = Some(ty("VARCHAR(64)"));
    assert!(planned(Some(&bare), Adoption::IfIdentical).is_err());
    let plan = planned(Some(&bare), Adoption::IfCompatible).expect("compatible");
    assert_eq!(plan.actions.len(), 2);

    bare.columns[0].column_type = Some(ty("VARCHAR(8)"));
    bare.columns[0].type_text = "varchar(8)".into();
    assert!(planned(Some(&bare), Adoption::IfCompatible).is_err());
}

#[test]
fn owner_marks_are_found_in_comments() {
    assert_eq!(owner_mark(&with_owner_mark(None, MARK)), Some(MARK));
    assert_eq!(owner_mark("orders tributary:a/b/c"), Some("tributary:a/b/c"));
    assert_eq!(owner_mark("plain"), None);
}
