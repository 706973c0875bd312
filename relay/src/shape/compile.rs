//! A table's mapping, checked and compiled.

use tributary_crds::column::ColumnType;
use tributary_crds::relay::{
    ColumnConfig, ColumnSource, DatasetConfig, Deletes, EXTRA_COLUMN, MetaSource, OnError, TableConfig,
    VER_COLUMN,
};

use super::Refused;
use super::convert;
use super::key::{self, KeySource};
use super::path::{self, PathError, Step};
use super::tree::Tree;

/// Everything needed to turn events of one dataset into rows of one table.
#[derive(Debug)]
pub struct Mapping {
    pub(super) key_columns: Vec<KnownColumn>,
    pub(super) known_columns: Vec<KnownColumn>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) tree: Tree,
    /// Values of NOT NULL columns in a delete's row: StarRocks reads the key only, but parses them all.
    pub(super) delete_fill: Vec<u8>,
    columns_header: String,
}

/// A column computed from the record's key and coordinates.
#[derive(Debug)]
pub(super) struct KnownColumn {
    pub name: String,
    /// `,"name":`, or `{"name":` for a row's first.
    pub prefix: Vec<u8>,
    pub ty: ColumnType,
    pub source: KeySource,
    pub absent: Absent,
}

/// A column read from the document.
#[derive(Debug)]
pub(super) struct Leaf {
    pub name: String,
    pub prefix: Vec<u8>,
    pub ty: ColumnType,
    pub on_error: OnError,
    /// For an absent or null value.
    pub absent: Absent,
    /// For a value that did not fit.
    pub unfit: Absent,
}

/// What a row holds where there is no value.
#[derive(Debug)]
pub(super) enum Absent {
    /// `,"name":<default or null>`.
    Text(Vec<u8>),
    Refused,
}

impl Absent {
    fn new(prefix: &[u8], text: Option<&[u8]>, nullable: bool) -> Self {
        match text {
            Some(text) => Self::Text([prefix, text].concat()),
            None if nullable => Self::Text([prefix, b"null"].concat()),
            None => Self::Refused,
        }
    }

    #[inline]
    pub(super) fn write(&self, column: &str, out: &mut Vec<u8>) -> Result<(), Refused> {
        match self {
            Self::Text(text) => {
                out.extend_from_slice(text);
                Ok(())
            }
            Self::Refused => Err(Refused::NotNull {
                column: column.to_owned(),
            }),
        }
    }
}

/// Why a mapping cannot be compiled. The operator's validation refuses all of these earlier; a relay checks again, because
/// it is the part that would write wrong rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    #[error("table {table}: the primary key is empty")]
    NoKey { table: String },
    #[error("table {table}: key column {column} is not among the columns")]
    KeyNotDeclared { table: String, column: String },
    #[error(
        "table {table}: key column {column} comes from {from:?}, which a delete does not carry; use _id with bson, $key, $key.time, $tenant, $dataset or value"
    )]
    KeyNeedsDocument {
        table: String,
        column: String,
        from: String,
    },
    #[error("table {table}: key column {column}: {why}")]
    KeyType {
        table: String,
        column: String,
        why: String,
    },
    #[error("table {table}: {what} is not known to this relay: upgrade its image")]
    Unsupported { table: String, what: &'static str },
    #[error("table {table}: column {column}: {why}")]
    Column {
        table: String,
        column: String,
        why: String,
    },
}

impl Mapping {
    pub fn compile(dataset: &DatasetConfig, table: &TableConfig) -> Result<Self, MappingError> {
        let mut compiler = Compiler {
            dataset,
            table: &table.table,
            mapping: Self {
                key_columns: Vec::new(),
                known_columns: Vec::new(),
                leaves: Vec::new(),
                tree: Tree::default(),
                delete_fill: Vec::new(),
                columns_header: columns_header(table),
            },
        };
        compiler.supported(table)?;
        compiler.keys(table)?;
        for column in table
            .columns
            .iter()
            .filter(|c| !table.primary_key.contains(&c.name))
        {
            compiler.value(column)?;
        }
        compiler.id_is_stored();
        Ok(compiler.mapping)
    }

    /// The `columns` header of every load into the table.
    pub fn columns_header(&self) -> &str {
        &self.columns_header
    }
}

/// Explicit names, for one reason: a table may have columns this mapping does not know (an adopted table, a schema change half
/// way), and a column that the header does not list takes its DEFAULT, while without a header it is listed implicitly and
/// takes NULL, which fails the load when it is NOT NULL (stream-load facts on `columns`). It protects from nothing else:
/// an unknown name in it is ignored without a word.
fn columns_header(table: &TableConfig) -> String {
    let mut names: Vec<String> = table.columns.iter().map(|c| format!("`{}`", c.name)).collect();
    names.extend([
        format!("`{VER_COLUMN}`"),
        format!("`{EXTRA_COLUMN}`"),
        "__op".to_owned(),
    ]);
    names.join(",")
}

struct Compiler<'a> {
    dataset: &'a DatasetConfig,
    table: &'a str,
    mapping: Mapping,
}

impl Compiler<'_> {
    fn supported(&self, table: &TableConfig) -> Result<(), MappingError> {
        let computed =
            |c: &ColumnConfig| matches!(c.source, ColumnSource::Element(_) | ColumnSource::Expr(_));
        let what = if table.explode.is_some() {
            "explode"
        } else if table.filter.is_some() {
            "where"
        } else if table.deletes == Deletes::Soft {
            "deletes: Soft"
        } else if table.columns.iter().any(computed) {
            "a column from $element or expr"
        } else {
            return Ok(());
        };
        Err(MappingError::Unsupported {
            table: self.table.to_owned(),
            what,
        })
    }

    fn keys(&mut self, table: &TableConfig) -> Result<(), MappingError> {
        let table_name = || self.table.to_owned();
        if table.primary_key.is_empty() {
            return Err(MappingError::NoKey { table: table_name() });
        }
        for name in &table.primary_key {
            let column = table.columns.iter().find(|c| c.name == *name).ok_or_else(|| {
                MappingError::KeyNotDeclared {
                    table: table_name(),
                    column: name.clone(),
                }
            })?;
            if !column.column_type.is_key_type() {
                let why = format!("{} cannot be part of a primary key", column.column_type);
                return Err(MappingError::KeyType {
                    table: table_name(),
                    column: name.clone(),
                    why,
                });
            }
            let source = self
                .known(column)?
                .ok_or_else(|| MappingError::KeyNeedsDocument {
                    table: self.table.to_owned(),
                    column: name.clone(),
                    from: source_text(&column.source),
                })?;
            let mut prefix = prefix_of(name);
            if self.mapping.key_columns.is_empty() {
                prefix[0] = b'{';
            }
            self.mapping.key_columns.push(KnownColumn {
                name: name.clone(),
                prefix,
                ty: column.column_type.clone(),
                source,
                absent: Absent::Refused,
            });
        }
        Ok(())
    }

    fn value(&mut self, column: &ColumnConfig) -> Result<(), MappingError> {
        let prefix = prefix_of(&column.name);
        let default = match &column.default {
            Some(text) => Some(self.literal(column, text)?),
            None => None,
        };
        let absent = Absent::new(&prefix, default.as_deref(), column.nullable);
        if !column.nullable {
            let filler = default.clone().unwrap_or_else(|| zero_of(&column.column_type));
            self.mapping.delete_fill.extend([&prefix[..], &filler].concat());
        }
        if let Some(source) = self.known(column)? {
            self.mapping.known_columns.push(KnownColumn {
                name: column.name.clone(),
                prefix,
                ty: column.column_type.clone(),
                source,
                absent,
            });
            return Ok(());
        }
        let ColumnSource::Path(path) = &column.source else {
            return Ok(());
        };
        let steps = path::parse(path).map_err(|e: PathError| self.column_error(column, e.to_string()))?;
        let node = self.mapping.tree.insert(&steps);
        self.mapping.tree.nodes[node]
            .leaves
            .push(self.mapping.leaves.len());
        self.mapping.leaves.push(Leaf {
            name: column.name.clone(),
            unfit: Absent::new(&prefix, None, column.nullable),
            prefix,
            ty: column.column_type.clone(),
            on_error: column.on_error,
            absent,
        });
        Ok(())
    }

    /// The source of a column that needs no document. `None`: it is a path into the document.
    fn known(&self, column: &ColumnConfig) -> Result<Option<KeySource>, MappingError> {
        Ok(match &column.source {
            ColumnSource::Path(path) => match (path.as_str(), column.bson) {
                ("_id", Some(bson)) => Some(KeySource::Id(bson)),
                _ => None,
            },
            ColumnSource::Value(text) => Some(KeySource::Constant(self.literal(column, text)?)),
            ColumnSource::Element(_) | ColumnSource::Expr(_) => None,
            ColumnSource::Meta(source) => {
                if !key::meta_fits(*source, &column.column_type) {
                    let why = format!(
                        "{} cannot hold {}",
                        column.column_type,
                        source_text(&column.source)
                    );
                    return Err(self.column_error(column, why));
                }
                Some(match source {
                    MetaSource::Tenant => KeySource::Constant(self.literal(column, &self.dataset.tenant)?),
                    MetaSource::Dataset => KeySource::Constant(self.literal(column, &self.dataset.name)?),
                    source => KeySource::Meta(*source),
                })
            }
        })
    }

    /// The key columns hold `_id` (the primary key determines the document), so a document's own copy is not overflow.
    fn id_is_stored(&mut self) {
        let node = self.mapping.tree.insert(&[Step::Name("_id".into())]);
        let node = &mut self.mapping.tree.nodes[node];
        node.ignore = node.leaves.is_empty() && node.is_leaf();
    }

    fn literal(&self, column: &ColumnConfig, text: &str) -> Result<Vec<u8>, MappingError> {
        convert::literal(text, &column.column_type).map_err(|why| self.column_error(column, why))
    }

    fn column_error(&self, column: &ColumnConfig, why: String) -> MappingError {
        MappingError::Column {
            table: self.table.to_owned(),
            column: column.name.clone(),
            why,
        }
    }
}

fn prefix_of(name: &str) -> Vec<u8> {
    let mut prefix = vec![b','];
    crate::json::write_string(name, &mut prefix);
    prefix.push(b':');
    prefix
}

fn source_text(source: &ColumnSource) -> String {
    match source {
        ColumnSource::Path(path) => path.clone(),
        ColumnSource::Value(text) => format!("value {text:?}"),
        ColumnSource::Element(path) if path.is_empty() => "$element".to_owned(),
        ColumnSource::Element(path) => format!("$element.{path}"),
        ColumnSource::Expr(text) => format!("expr {text:?}"),
        ColumnSource::Meta(meta) => match serde_json::to_value(meta) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{meta:?}"),
        },
    }
}

/// Some value of a type, for a NOT NULL column of a row that is being deleted.
fn zero_of(ty: &ColumnType) -> Vec<u8> {
    match ty {
        ColumnType::Boolean => b"false".to_vec(),
        ColumnType::Varchar(_) => b"\"\"".to_vec(),
        ColumnType::Date => b"\"1970-01-01\"".to_vec(),
        ColumnType::DateTime => b"\"1970-01-01 00:00:00\"".to_vec(),
        ColumnType::Json => b"{}".to_vec(),
        ColumnType::Array(_) => b"[]".to_vec(),
        _ => b"0".to_vec(),
    }
}
