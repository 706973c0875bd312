//! Whatever valid table is asked for, the rendered statement passes the checker of every version and reads back as what
//! was meant; identifiers cannot break out of their quotes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_crds::column::ColumnType;
use tributary_crds::template::Privilege;
use tributary_operator::table::ddl::lex::{Token, tokens};
use tributary_operator::table::ddl::render::{Ident, Text};
use tributary_operator::table::ddl::{
    ColumnDef, CreateTable, CreateView, GrantStatement, HashDistribution, Object, PartitionBy, Statement,
    TableName, Version, check,
};

const VERSIONS: [&str; 8] = [
    "3.2.0", "3.2.11", "3.3.0", "3.4.1", "3.5.8", "4.0-dev", "4.0.1", "4.1.3",
];

/// Any column name StarRocks takes, the hostile ones too.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z_][a-z0-9_]{0,12}",
        1 => "[a-zA-Z0-9_ `'\"\\\\;,().$é日-]{1,16}",
        1 => Just("select".to_owned()),
        1 => Just("a`; DROP TABLE x; --".to_owned()),
    ]
    .prop_filter("reserved or blank", |n| {
        !n.trim().is_empty() && !n.starts_with("__")
    })
}

fn key_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        Just(ColumnType::BigInt),
        Just(ColumnType::Int),
        Just(ColumnType::LargeInt),
        Just(ColumnType::Boolean),
        Just(ColumnType::Date),
        Just(ColumnType::DateTime),
        (1u32..=1_048_576).prop_map(ColumnType::Varchar),
    ]
}

fn value_type() -> impl Strategy<Value = ColumnType> {
    let scalar = prop_oneof![
        key_type(),
        Just(ColumnType::TinyInt),
        Just(ColumnType::SmallInt),
        Just(ColumnType::Float),
        Just(ColumnType::Double),
        (1u8..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale }),
    ];
    prop_oneof![
        4 => scalar.clone(),
        1 => Just(ColumnType::Json),
        1 => scalar.prop_map(|t| ColumnType::Array(Box::new(t))),
    ]
}

fn table() -> impl Strategy<Value = CreateTable> {
    let names = prop::collection::vec(name(), 2..12).prop_map(|names| {
        let mut seen = BTreeSet::new();
        let fresh = |n: &String| seen.insert(n.to_ascii_lowercase());
        names.into_iter().filter(fresh).collect::<Vec<_>>()
    });
    let shape = (names, 1usize..4, any::<bool>(), prop::option::of(1u32..64));
    let types = (
        prop::collection::vec(key_type(), 4),
        prop::collection::vec((value_type(), any::<bool>()), 12),
    );
    let texts = (prop::option::of(".{0,24}"), name(), name());
    (shape, types, texts).prop_map(
        |((names, keys, partitioned, buckets), (key_types, value_types), texts)| {
            let keys = keys.min(names.len());
            let primary_key: Vec<String> = names[..keys].to_vec();
            let columns = names.iter().enumerate().map(|(i, name)| {
                if i < keys {
                    ColumnDef::not_null(name.clone(), key_types[i].clone())
                } else {
                    let (column_type, nullable) = value_types[i].clone();
                    ColumnDef {
                        nullable,
                        comment: texts.0.clone(),
                        ..ColumnDef::nullable(name.clone(), column_type)
                    }
                }
            });
            CreateTable {
                name: TableName::new(texts.1.clone(), texts.2.clone()),
                columns: columns.collect(),
                comment: texts.0.clone(),
                partition_by: partitioned.then(|| PartitionBy::Columns(vec![primary_key[0].clone()])),
                distribute_by: HashDistribution {
                    columns: vec![primary_key[keys - 1].clone()],
                    buckets,
                },
                order_by: if partitioned {
                    vec![primary_key[0].clone()]
                } else {
                    Vec::new()
                },
                properties: BTreeMap::from([("replication_num".to_owned(), "1".to_owned())]),
                primary_key,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rendered_table_passes_the_checker(table in table()) {
        let sql = Statement::CreateTable(table.clone()).to_string();
        for version in VERSIONS {
            let version: Version = version.parse().expect("version");
            let verdict = check(&sql, version);
            prop_assert!(verdict.is_ok(), "{version}: {}\n{sql}", verdict.unwrap_err());
        }
        prop_assert!(sql.contains("DISTRIBUTED BY HASH(") && sql.contains("\"fast_schema_evolution\" = \"true\""));
    }

    #[test]
    fn every_rendered_change_passes_the_checker(table in table(), comment in ".{0,40}") {
        let name = table.name.clone();
        let added: Vec<ColumnDef> = table.columns.iter().cloned().map(|c| ColumnDef { nullable: true, ..c }).collect();
        let column = added[0].name.clone();
        let view = CreateView {
            name: name.clone(),
            columns: added.iter().map(|c| c.name.clone()).collect(),
            rows: TableName::new(name.database.clone(), format!("{}__rows", name.table)),
            comment: comment.clone(),
        };
        let grant = GrantStatement {
            object: Object::View,
            name: name.clone(),
            role: column.clone(),
            privileges: vec![Privilege::Select, Privilege::Export],
        };
        let always = [
            Statement::CreateDatabase { name: name.database.clone() },
            Statement::AddColumns { table: name.clone(), columns: added },
            Statement::SetTableComment { table: name.clone(), comment: comment.clone() },
            Statement::DropTable { table: name.clone() },
            Statement::CreateView(view.clone()),
            Statement::ReplaceView(view),
            Statement::DropView { view: name.clone() },
            Statement::Grant(grant.clone()),
            Statement::Revoke(grant),
        ];
        for version in VERSIONS {
            let version: Version = version.parse().expect("version");
            for statement in &always {
                let verdict = check(&statement.to_string(), version);
                prop_assert!(verdict.is_ok(), "{version}: {}\n{statement}", verdict.unwrap_err());
            }
            let comment = Statement::SetColumnComment { table: name.clone(), column: column.clone(), comment: comment.clone() };
            let knows = version >= Version::new(3, 4, 0);
            prop_assert_eq!(check(&comment.to_string(), version).is_ok(), knows);
        }
    }

    #[test]
    fn quoting_is_undone_by_reading(text in any::<String>()) {
        let ident = tokens(&Ident(&text).to_string()).expect("identifier");
        prop_assert_eq!(ident.len(), 1);
        prop_assert_eq!(&ident[0].token, &Token::Quoted(text.clone()));
        let literal = tokens(&Text(&text).to_string()).expect("text");
        prop_assert_eq!(literal.len(), 1);
        prop_assert_eq!(&literal[0].token, &Token::Str(text));
    }
}
