//! Whether a topic's events were read before, asked of the tables when the group has no offset (correctness rule 9).
//!
//! Kafka forgets a group's offsets a week after its last member left, and on command. From Kafka alone nothing tells such a
//! group from a new one; but a row of this topic's generation was made of an event that somebody read.

use tributary_crds::relay::{ColumnSource, DatasetConfig, MetaSource, TableConfig, VER_COLUMN, pack_ver};

use crate::sink::starrocks::sql::{identifier, literal};

/// Whether a SELECT has a row; the error says why nobody knows.
pub type Ask = Box<dyn Fn(&str) -> Result<bool, String> + Send>;

/// Whether some table has a row that was made of this topic.
pub(super) fn was_read(dataset: &DatasetConfig, ask: &Ask) -> Result<bool, String> {
    for table in &dataset.tables {
        if ask(&question(dataset, table))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn question(dataset: &DatasetConfig, table: &TableConfig) -> String {
    let first = pack_ver(dataset.topic.generation, 0, 0);
    let last = pack_ver(dataset.topic.generation, i64::MAX, u16::MAX);
    let mut wheres = vec![format!("{} BETWEEN {first} AND {last}", identifier(VER_COLUMN))];
    // A shared table has other tenants' and other datasets' rows, whose generations are their own.
    for name in &table.primary_key {
        let column = table.columns.iter().find(|column| column.name == *name);
        let constant = match column.map(|column| &column.source) {
            Some(ColumnSource::Meta(MetaSource::Tenant)) => &dataset.tenant,
            Some(ColumnSource::Meta(MetaSource::Dataset)) => &dataset.name,
            _ => continue,
        };
        wheres.push(format!("{} = {}", identifier(name), literal(constant)));
    }
    format!(
        "SELECT 1 FROM {}.{} WHERE {} LIMIT 1",
        identifier(&table.database),
        identifier(&table.table),
        wheres.join(" AND ")
    )
}
