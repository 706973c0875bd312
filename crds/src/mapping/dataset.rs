//! A pipeline's dataset and the tables it goes to, as the relay's configuration.

use std::collections::BTreeMap;

use crate::effective::{EffectiveDataset, EffectivePipeline, EffectiveTable};
use crate::pipeline::ColumnOverride;
use crate::relay::{ColumnSource, DatasetConfig, FORMAT_VERSION, MetaSource, TableConfig, TopicConfig};
use crate::table::StarRocksTableSpec;

use super::FieldError;
use super::table::{CompiledTable, TableOrigin, compile_table, entry_field};

/// Compiles one dataset of a pipeline for its relay, all errors at once.
///
/// `referenced` holds, by entry, the spec and object name of every `tableRef` that was found and permits this pipeline.
pub fn compile_dataset(
    pipeline: &EffectivePipeline,
    dataset: &EffectiveDataset,
    referenced: &BTreeMap<String, (String, StarRocksTableSpec)>,
    topic: TopicConfig,
    mapping_generation: u16,
) -> Result<DatasetConfig, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut tables = Vec::new();
    if let Some(other) = first_with_topic(pipeline, &dataset.topic).filter(|o| o.name != dataset.name) {
        errors.push(FieldError::new(
            format!("datasets[{}].collection", dataset.name),
            format_args!(
                "dataset {} already reads topic {}: a dataset may have several tables",
                other.name, dataset.topic
            ),
        ));
    }
    for table in &dataset.tables {
        match compile_entry(pipeline, dataset, table, referenced) {
            Ok(table) => tables.push(table),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(DatasetConfig {
        format_version: FORMAT_VERSION,
        digest: String::new(),
        name: dataset.name.clone(),
        tenant: pipeline.tenant.clone(),
        topic,
        mapping_generation,
        tables,
    }
    .sealed())
}

fn compile_entry(
    pipeline: &EffectivePipeline,
    dataset: &EffectiveDataset,
    table: &EffectiveTable,
    referenced: &BTreeMap<String, (String, StarRocksTableSpec)>,
) -> Result<TableConfig, Vec<FieldError>> {
    let entry = table.entry();
    let here = entry_field(&dataset.name, entry);
    let compiled = match table {
        EffectiveTable::Own { spec, child, .. } => {
            let origin = TableOrigin::Inline {
                dataset: &dataset.name,
                entry,
            };
            compile_table(spec, child, origin)?
        }
        EffectiveTable::Referenced {
            overrides,
            filter,
            namespace,
            name,
            ..
        } => {
            let field = format!("{here}.tableRef");
            let Some((object, spec)) = referenced.get(entry) else {
                let message = format!(
                    "StarRocksTable {namespace}/{name} does not exist or does not permit this namespace"
                );
                return Err(vec![FieldError::new(field, message)]);
            };
            let base = compile_table(spec, object, TableOrigin::Object).map_err(|found| {
                let message = format!(
                    "StarRocksTable {namespace}/{name} is not valid: {}",
                    super::summary(&found)
                );
                vec![FieldError::new(&field, message)]
            })?;
            let mut spec = overridden(spec, overrides, &base, &here)?;
            spec.template.filter = both(spec.template.filter, filter.as_deref());
            let origin = TableOrigin::Inline {
                dataset: &dataset.name,
                entry,
            };
            compile_table(&spec, object, origin)?
        }
    };
    let feeding = entries_feeding(pipeline, table);
    let refusal = match table {
        EffectiveTable::Own { .. } if feeding > 1 => {
            Some("another entry of this pipeline makes a table of the same name")
        }
        EffectiveTable::Referenced { .. } if feeding > 1 && !compiled.key.dataset => {
            Some("several datasets feed this table: its key needs a column with from: $dataset")
        }
        _ => None,
    };
    if let Some(message) = refusal {
        return Err(vec![FieldError::new(here, message)]);
    }
    Ok(compiled.into_config(entry))
}

/// A document has a row where the table's owner and the pipeline both say so.
fn both(owner: Option<String>, pipeline: Option<&str>) -> Option<String> {
    match (owner, pipeline) {
        (Some(owner), Some(pipeline)) => Some(format!("({owner}) && ({pipeline})")),
        (owner, pipeline) => owner.or_else(|| pipeline.map(str::to_owned)),
    }
}

/// Two collections can share a topic only when their names differ in characters that Kafka does not take.
fn first_with_topic<'a>(pipeline: &'a EffectivePipeline, topic: &str) -> Option<&'a EffectiveDataset> {
    pipeline.datasets.iter().find(|d| d.topic == topic)
}

/// How many entries of this pipeline go to the table of `table`.
fn entries_feeding(pipeline: &EffectivePipeline, table: &EffectiveTable) -> usize {
    let same = |other: &&EffectiveTable| match (table, *other) {
        (
            EffectiveTable::Referenced { namespace, name, .. },
            EffectiveTable::Referenced {
                namespace: n,
                name: m,
                ..
            },
        ) => namespace == n && name == m,
        (EffectiveTable::Own { spec, .. }, EffectiveTable::Own { spec: s, .. }) => {
            spec.database == s.database && spec.template.table == s.template.table
        }
        _ => false,
    };
    pipeline
        .datasets
        .iter()
        .flat_map(|d| &d.tables)
        .filter(same)
        .count()
}

/// The referenced table's spec with this tenant's way to obtain values. Identity cannot be overridden.
fn overridden(
    spec: &StarRocksTableSpec,
    overrides: &[ColumnOverride],
    base: &CompiledTable,
    here: &str,
) -> Result<StarRocksTableSpec, Vec<FieldError>> {
    let mut spec = spec.clone();
    let mut errors = Vec::new();
    for change in overrides {
        let field = format!("{here}.columns[{}]", change.name);
        let compiled = base.columns.iter().find(|c| c.config.name == change.name);
        let column = spec.template.columns.iter_mut().find(|c| c.name == change.name);
        let (Some(compiled), Some(column)) = (compiled, column) else {
            errors.push(FieldError::new(
                field,
                "the table has no such column; its owner can add it, until then the value waits in _extra",
            ));
            continue;
        };
        if compiled.is_key && is_identity(&compiled.config.source) {
            errors.push(FieldError::new(
                field,
                "a key column that identifies the row cannot be overridden",
            ));
            continue;
        }
        if change.from.is_some() || change.value.is_some() || change.expr.is_some() {
            column.from.clone_from(&change.from);
            column.value.clone_from(&change.value);
            column.expr.clone_from(&change.expr);
        }
        if change.default.is_some() {
            column.default.clone_from(&change.default);
        }
        column.on_error = change.on_error.or(column.on_error);
    }
    if errors.is_empty() { Ok(spec) } else { Err(errors) }
}

fn is_identity(source: &ColumnSource) -> bool {
    match source {
        ColumnSource::Path(path) => path == "_id",
        ColumnSource::Meta(meta) => {
            matches!(meta, MetaSource::Tenant | MetaSource::Dataset | MetaSource::Key)
        }
        ColumnSource::Value(_) | ColumnSource::Element(_) | ColumnSource::Expr(_) => false,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
