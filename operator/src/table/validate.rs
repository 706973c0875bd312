//! From a raw StarRocksTable to the table that is wanted, or the reason why none is.

use std::collections::BTreeSet;

use kube::ResourceExt;
use tributary_crds::column::ColumnType;
use tributary_crds::effective::builtin;
use tributary_crds::mapping::{self, CompiledTable, TableOrigin, compile_table, summary};
use tributary_crds::names::Owner;
use tributary_crds::reference::is_permitted;
use tributary_crds::relay::{DELETED_COLUMN, Deletes, EXTRA_COLUMN, VER_COLUMN};
use tributary_crds::status::TableReason;
use tributary_crds::template::{Adoption, Drift, Grant};
use tributary_crds::{DataPlatform, StarRocksTable};

use super::database;
use super::ddl::plan::with_owner_mark;
use super::ddl::statement::TimeUnit;
use super::ddl::{ColumnDef, CreateTable, CreateView, HashDistribution, Object, PartitionBy, TableName};
use super::dereference::Referenced;

/// A table that may be made, and what its status remembers of it.
#[derive(Debug)]
pub struct Valid {
    pub desired: CreateTable,
    /// `deletes: Soft`: what readers ask instead of the table.
    pub view: Option<CreateView>,
    pub owner_mark: String,
    pub adoption: Adoption,
    pub drift: Drift,
    pub grants: Vec<Grant>,
    /// Columns that were seen before.
    pub seen: BTreeSet<String>,
    /// What was granted in the spec's name before.
    pub granted: Vec<Grant>,
    /// The spec was edited since the table was exactly as asked.
    pub edited: bool,
}

impl Valid {
    /// What people read.
    pub fn readable(&self) -> (Object, &TableName) {
        match &self.view {
            Some(view) => (Object::View, &view.name),
            None => (Object::Table, &self.desired.name),
        }
    }
}

/// Why it may not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: TableReason,
    pub message: String,
}

pub fn validate(table: &StarRocksTable, refs: &Referenced) -> Result<Valid, Refused> {
    let platform = permitted_platform(table, refs)?;
    let compiled =
        compile_table(&table.spec, &table.name_any(), TableOrigin::Object).map_err(|errors| Refused {
            reason: TableReason::MappingInvalid,
            message: summary(&errors),
        })?;
    let namespace = table.namespace().unwrap_or_default();
    let asking = database::Asking {
        namespace: &namespace,
        labels: refs.namespace_labels.as_ref(),
        tenants: &refs.tenants,
    };
    database::permit(&compiled.database, &asking, platform).map_err(|message| Refused {
        reason: TableReason::RefNotPermitted,
        message,
    })?;
    let mark = owner(table, platform).mark();
    let status = table.status.clone().unwrap_or_default();
    let live = status.live.unwrap_or_default();
    let template = &table.spec.template;
    Ok(Valid {
        view: view(&compiled, &mark),
        desired: desired(compiled, platform, &mark),
        owner_mark: mark,
        adoption: template.adoption.unwrap_or_default(),
        drift: template.drift.unwrap_or_default(),
        grants: template.grants.clone(),
        seen: live.columns.into_iter().chain(live.taken_away).collect(),
        granted: status.grants,
        edited: live.aligned_generation > 0
            && live.aligned_generation < table.metadata.generation.unwrap_or_default(),
    })
}

/// Readers of a soft-deleting table see its columns but for the tombstones' mark.
fn view(compiled: &CompiledTable, mark: &str) -> Option<CreateView> {
    if compiled.deletes == Deletes::Hard {
        return None;
    }
    let declared = compiled.columns.iter().map(|c| c.config.name.clone());
    let system = [VER_COLUMN, EXTRA_COLUMN].map(str::to_owned);
    Some(CreateView {
        name: TableName::new(&compiled.database, &compiled.table),
        columns: declared.chain(system).collect(),
        rows: TableName::new(&compiled.database, compiled.rows_table()),
        comment: mark.to_owned(),
    })
}

/// The identity a physical table is marked with.
pub fn owner(table: &StarRocksTable, platform: &DataPlatform) -> Owner {
    Owner::new(
        &platform.spec.owner_id,
        table.namespace().unwrap_or_default(),
        table.name_any(),
    )
}

fn permitted_platform<'a>(table: &StarRocksTable, refs: &'a Referenced) -> Result<&'a DataPlatform, Refused> {
    let own = table.namespace().unwrap_or_default();
    let permitted = refs.platform.as_deref().filter(|platform| {
        let theirs = platform.namespace().unwrap_or_default();
        let consent = platform.spec.allowed_namespaces.as_ref();
        is_permitted(consent, &theirs, &own, refs.namespace_labels.as_ref())
    });
    permitted.ok_or_else(|| Refused {
        reason: TableReason::RefNotPermitted,
        // One sentence for both cases: a tenant must not learn which platforms exist.
        message: "platformRef: there is no such DataPlatform, or it does not permit this namespace."
            .to_owned(),
    })
}

fn desired(compiled: CompiledTable, platform: &DataPlatform, mark: &str) -> CreateTable {
    let mut columns: Vec<ColumnDef> = compiled
        .columns
        .iter()
        .map(|column| ColumnDef {
            name: column.config.name.clone(),
            column_type: column.config.column_type.clone(),
            nullable: column.config.nullable,
            default: None,
            comment: column.comment.clone(),
        })
        .collect();
    // Nullable: a delete carries the key alone, and StarRocks would refuse it for a NOT NULL column.
    columns.push(ColumnDef::nullable(VER_COLUMN, ColumnType::BigInt));
    columns.push(ColumnDef::nullable(EXTRA_COLUMN, ColumnType::Json));
    if compiled.deletes == Deletes::Soft {
        columns.push(ColumnDef::nullable(DELETED_COLUMN, ColumnType::Boolean));
    }
    let replicas = platform
        .spec
        .starrocks
        .hot
        .replication_num
        .unwrap_or(builtin::REPLICATION_NUM);
    let name = TableName::new(&compiled.database, compiled.rows_table());
    let mut properties = compiled.properties;
    properties
        .entry("replication_num".to_owned())
        .or_insert_with(|| replicas.to_string());
    let distribute = compiled.distribute_by;
    CreateTable {
        name,
        columns,
        distribute_by: HashDistribution {
            columns: distribute
                .as_ref()
                .map_or_else(|| compiled.primary_key.clone(), |d| d.columns.clone()),
            buckets: distribute.and_then(|d| u32::try_from(d.buckets?).ok()),
        },
        primary_key: compiled.primary_key,
        comment: Some(with_owner_mark(None, mark)),
        partition_by: compiled.partition_by.map(partition),
        order_by: vec![],
        properties,
    }
}

fn partition(partition: mapping::PartitionBy) -> PartitionBy {
    match partition {
        mapping::PartitionBy::Columns(columns) => PartitionBy::Columns(columns),
        mapping::PartitionBy::DateTrunc { unit, column } => {
            let unit = match unit {
                mapping::TimeUnit::Hour => TimeUnit::Hour,
                mapping::TimeUnit::Day => TimeUnit::Day,
                mapping::TimeUnit::Month => TimeUnit::Month,
                mapping::TimeUnit::Year => TimeUnit::Year,
            };
            PartitionBy::DateTrunc { unit, column }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;

    pub(crate) fn table() -> StarRocksTable {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "tributary.dev/v1alpha1", "kind": "StarRocksTable",
            "metadata": {"name": "orders", "namespace": "tributary", "generation": 2},
            "spec": {
                "platformRef": {"name": "main"}, "database": "shop", "primaryKey": ["order_id"],
                "columns": [
                    {"name": "total", "type": "DECIMAL(38,2)"},
                    {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
                ],
            },
        }))
        .expect("a table")
    }

    pub(crate) fn refs() -> Referenced {
        let platform: DataPlatform = serde_json::from_value(serde_json::json!({
            "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
            "metadata": {"name": "main", "namespace": "tributary"},
            "spec": {
                "ownerID": "test",
                "kafka": {"bootstrapServers": ["k:9092"]},
                "connect": {"url": "http://c:8083", "sourceSecrets": {"type": "Mirrored"}},
                "starrocks": {"hot": {
                    "httpEndpoints": ["http://f:8030"], "mysqlEndpoints": ["f:9030"],
                    "adminCredentialsSecretRef": {"name": "a"}, "loadCredentialsSecretRef": {"name": "l"},
                    "replicationNum": 1,
                }},
            },
        }))
        .expect("a platform");
        Referenced {
            platform: Some(Arc::new(platform)),
            namespace_labels: None,
            tenants: BTreeSet::new(),
            admin: None,
            writers: 0,
        }
    }

    pub(crate) fn valid() -> Valid {
        validate(&table(), &refs()).expect("valid")
    }

    #[test]
    fn the_wanted_table_has_key_columns_first_system_columns_last_and_the_mark() {
        let valid = validate(&table(), &refs()).unwrap();
        let names: Vec<_> = valid.desired.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["order_id", "total", "_ver", "_extra"]);
        assert_eq!(valid.desired.name.to_string(), "shop.orders");
        assert_eq!(
            valid.desired.comment.as_deref(),
            Some("tributary:test/tributary/orders")
        );
        assert_eq!(valid.desired.properties["replication_num"], "1");
        assert_eq!(valid.desired.distribute_by.columns, ["order_id"]);
    }

    #[test]
    fn soft_deletes_keep_their_rows_behind_a_view() {
        let mut soft = table();
        soft.spec.template.deletes = Some(Deletes::Soft);
        let valid = validate(&soft, &refs()).unwrap();
        assert_eq!(valid.desired.name.to_string(), "shop.orders__rows");
        assert_eq!(valid.desired.columns.last().unwrap().name, "_deleted");
        let view = super::super::ddl::Statement::CreateView(valid.view.clone().unwrap());
        assert_eq!(
            view.to_string(),
            "CREATE VIEW `shop`.`orders` (`order_id`, `total`, `_ver`, `_extra`) COMMENT \"tributary:test/tributary/orders\" \
             AS SELECT `order_id`, `total`, `_ver`, `_extra` FROM `shop`.`orders__rows` WHERE `_deleted` IS NULL OR `_deleted` = FALSE"
        );
        assert_eq!(valid.readable().0, Object::View);
    }

    #[test]
    fn a_table_of_elements_is_distributed_by_its_document() {
        let mut lines = table();
        lines.spec.template = serde_json::from_value(serde_json::json!({
            "primaryKey": ["_doc", "line_no"], "rows": {"explode": "items"},
            "columns": [
                {"name": "line_no", "type": "INT", "from": "$ordinal"},
                {"name": "sku", "type": "VARCHAR(64)", "from": "$element.sku"},
            ],
        }))
        .expect("a template");
        let valid = validate(&lines, &refs()).unwrap();
        let names: Vec<_> = valid.desired.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["_doc", "line_no", "sku", "_ver", "_extra"]);
        assert_eq!(valid.desired.distribute_by.columns, ["_doc"]);
        assert!(valid.desired.to_string().contains("`_doc` VARCHAR(128) NOT NULL"));
    }

    #[test]
    fn a_database_of_somebody_else_is_not_permitted() {
        let mut foreign = table();
        foreign.metadata.namespace = Some("tenant-a".into());
        foreign.spec.platform_ref.as_mut().unwrap().namespace = Some("tributary".into());
        let mut refs = refs();
        let platform = Arc::make_mut(refs.platform.as_mut().unwrap());
        platform.spec.allowed_namespaces =
            serde_json::from_value(serde_json::json!({"from": "All"})).unwrap();
        let refused = validate(&foreign, &refs).unwrap_err();
        assert_eq!(refused.reason, TableReason::RefNotPermitted);
        assert!(
            refused.message.contains("may not name database shop"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn absent_and_not_permitted_read_the_same() {
        let absent = validate(
            &table(),
            &Referenced {
                platform: None,
                ..refs()
            },
        )
        .unwrap_err();
        let mut foreign = table();
        foreign.metadata.namespace = Some("elsewhere".into());
        foreign.spec.platform_ref.as_mut().unwrap().namespace = Some("tributary".into());
        let refused = validate(&foreign, &refs()).unwrap_err();
        assert_eq!(absent, refused);
    }

    #[test]
    fn a_bad_mapping_names_its_field() {
        let mut bad = table();
        bad.spec.template.columns[0].column_type = Some("MONEY".into());
        let refused = validate(&bad, &refs()).unwrap_err();
        assert_eq!(refused.reason, TableReason::MappingInvalid);
        assert!(
            refused.message.contains("columns[total].type"),
            "{}",
            refused.message
        );
    }
}
