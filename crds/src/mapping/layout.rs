//! How a table lies in StarRocks: its key, what it is partitioned by, how it is distributed.

use std::collections::BTreeSet;

use crate::column::ColumnType;
use crate::relay::{ColumnConfig, ColumnSource, DOC_COLUMN, KEY_MAX_BYTES, MetaSource, OnError};
use crate::template::DistributeBy;

use super::identity::{self, KeyColumn, KeyIdentity};
use super::keysize;
use super::partition::PartitionBy;
use super::table::{CompiledColumn, TableCheck};

impl TableCheck<'_> {
    pub(super) fn key(&mut self, columns: &[CompiledColumn]) -> KeyIdentity {
        let primary_key = self.primary_key;
        if primary_key.is_empty() {
            self.error("primaryKey", "is required");
            return KeyIdentity::default();
        }
        let mut seen = BTreeSet::new();
        for name in primary_key {
            if !seen.insert(name) {
                self.error("primaryKey", format_args!("{name} is named twice"));
            }
        }
        let mut fields = Vec::new();
        for name in primary_key {
            match columns.iter().find(|c| c.config.name == *name) {
                None => self.missing_key_column(name),
                Some(column) if !column.config.column_type.is_key_type() => {
                    let message = format!(
                        "StarRocks takes no {} in a primary key",
                        column.config.column_type
                    );
                    self.column_error(name, "type", message);
                }
                Some(column) => fields.push((self.origin.column(name, "from"), &column.config)),
            }
        }
        let key: Vec<_> = fields
            .iter()
            .map(|(field, config)| KeyColumn {
                name: &config.name,
                field,
                source: &config.source,
                column_type: &config.column_type,
                bson: config.bson,
            })
            .collect();
        let complete = key.len() == primary_key.len();
        let before = self.errors.len();
        let found = identity::identity(&key, &mut self.errors);
        if complete && !found.document && self.errors.len() == before {
            self.error(
                "primaryKey",
                "must determine the document: add a column with from: _id and its bson type, or the key column _doc (the text of the document's key)",
            );
        }
        if complete && self.exploded && !found.element && self.errors.len() == before {
            self.error(
                "primaryKey",
                "with rows.explode the key tells elements apart: add a column with from: $ordinal or $element.<path>",
            );
        }
        let least = keysize::least(&key);
        if least > KEY_MAX_BYTES {
            let message =
                format!("every key would have at least {least} bytes, StarRocks takes {KEY_MAX_BYTES}");
            self.error("primaryKey", message);
        }
        found
    }

    /// A key column that was declared but did not compile has its own error already.
    fn missing_key_column(&mut self, name: &str) {
        let marker = self.origin.column(name, "");
        if !self.errors.iter().any(|e| e.field.starts_with(&marker)) {
            self.error(
                "primaryKey",
                format_args!("primaryKey names a column that is not declared: {name}"),
            );
        }
    }

    pub(super) fn partition(
        &mut self,
        text: Option<&str>,
        columns: &[CompiledColumn],
    ) -> Option<PartitionBy> {
        let parsed: PartitionBy = match text?.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                self.error("partitionBy", error);
                return None;
            }
        };
        for name in parsed.columns() {
            if !self.primary_key.contains(name) {
                self.error(
                    "partitionBy",
                    format_args!("{name} is not a column of the primary key"),
                );
            }
        }
        if let PartitionBy::DateTrunc { column, .. } = &parsed
            && let Some(found) = columns.iter().find(|c| c.config.name == *column)
            && !matches!(found.config.column_type, ColumnType::Date | ColumnType::DateTime)
        {
            let message = format!(
                "date_trunc needs a DATE or DATETIME, {column} is {}",
                found.config.column_type
            );
            self.error("partitionBy", message);
        }
        Some(parsed)
    }

    /// Rows that are found by their document lie together (rule 4).
    pub(super) fn distribution(
        &mut self,
        distribute: Option<&DistributeBy>,
        columns: &[CompiledColumn],
    ) -> Option<DistributeBy> {
        for name in distribute.map_or(&[][..], |d| &d.columns) {
            if !self.primary_key.contains(name) {
                self.error(
                    "distributeBy.columns",
                    format_args!("{name} is not a column of the primary key"),
                );
            }
        }
        let key = || columns.iter().filter(|c| c.is_key).map(|c| &c.config);
        let own_index = self.exploded || key().any(|c| !c.known_from_key());
        let document = key().find(|c| c.identifies_document());
        let (true, Some(document)) = (own_index, document) else {
            return distribute.cloned();
        };
        let wanted = vec![document.name.clone()];
        if distribute.is_some_and(|d| d.columns != wanted) {
            let message = format_args!(
                "rows of this table are found by their document: distribute by [{}], or leave distributeBy out",
                document.name
            );
            self.error("distributeBy.columns", message);
        }
        Some(DistributeBy {
            columns: wanted,
            buckets: distribute.and_then(|d| d.buckets),
        })
    }
}

/// The key column `_doc`, which no spec declares: the canonical text of the document's key.
pub(super) fn doc_column() -> CompiledColumn {
    CompiledColumn {
        config: ColumnConfig {
            name: DOC_COLUMN.to_owned(),
            column_type: ColumnType::Varchar(KEY_MAX_BYTES as u32),
            source: ColumnSource::Meta(MetaSource::Key),
            bson: None,
            default: None,
            on_error: OnError::Reject,
            nullable: false,
        },
        comment: None,
        is_key: true,
    }
}
