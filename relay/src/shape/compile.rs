//! A table's mapping, checked and compiled.

use tributary_crds::column::ColumnType;
use tributary_crds::expr::{ExprError, Meta, Program, Variable};
use tributary_crds::relay::{
    ColumnConfig, ColumnSource, DELETED_COLUMN, DatasetConfig, Deletes, EXTRA_COLUMN, KEY_MAX_BYTES,
    MetaSource, OnError, TableConfig, VER_COLUMN,
};

use super::Refused;
use super::convert;
use super::key::{self, KeySource};
use super::keytext;
use super::path::{self, PathError, Step};
use super::rows::{Element, Indexed, IndexedKey, KeyFrom};
use super::tree::Tree;

/// Everything needed to turn events of one dataset into rows of one table.
#[derive(Debug)]
pub struct Mapping {
    /// Key columns in key order; empty when [`Mapping::indexed`] has them.
    pub(super) key_columns: Vec<KnownColumn>,
    pub(super) known_columns: Vec<KnownColumn>,
    pub(super) level: Level,
    pub(super) exprs: Vec<ExprColumn>,
    pub(super) filter: Option<Program>,
    /// There is a filter or an expression.
    pub(super) computes: bool,
    pub(super) deletes: Deletes,
    removal: Option<keytext::Removal>,
    /// The table is its own index: rows of an event are found, not computed (correctness rule 4).
    pub(super) indexed: Option<Box<Indexed>>,
    /// Some document's key could be longer than StarRocks takes.
    pub(super) long_keys: bool,
    /// Values of NOT NULL columns in a delete's row: StarRocks reads the key only, but parses them all.
    pub(super) delete_fill: Vec<u8>,
    columns_header: String,
}

/// Columns read from a document, or from an element of its array.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub leaves: Vec<Leaf>,
    pub tree: Tree,
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
    /// Empty for a key column: its value is put in the key's place.
    pub prefix: Vec<u8>,
    pub ty: ColumnType,
    pub on_error: OnError,
    /// For an absent or null value.
    pub absent: Absent,
    /// For a value that did not fit.
    pub unfit: Absent,
    pub is_key: bool,
}

/// A column computed by an expression.
#[derive(Debug)]
pub(super) struct ExprColumn {
    pub name: String,
    pub prefix: Vec<u8>,
    pub ty: ColumnType,
    pub on_error: OnError,
    pub absent: Absent,
    pub unfit: Absent,
    pub program: Program,
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
        "table {table}: no key column identifies the document: one must come from _id with bson, or from $key"
    )]
    NoDocument { table: String },
    #[error("table {table}: key column {column}: {why}")]
    KeyType {
        table: String,
        column: String,
        why: String,
    },
    #[error("table {table}: its datasets disagree on deletes: Hard or Soft")]
    DeletesDiffer { table: String },
    #[error("table {table}: where: {why}")]
    Filter { table: String, why: ExprError },
    #[error("table {table}: explode: {why}")]
    Explode { table: String, why: PathError },
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
            table,
            mapping: Self {
                key_columns: Vec::new(),
                known_columns: Vec::new(),
                level: Level::default(),
                exprs: Vec::new(),
                filter: None,
                computes: false,
                deletes: table.deletes,
                removal: None,
                indexed: None,
                long_keys: table.longest_key() > KEY_MAX_BYTES,
                delete_fill: Vec::new(),
                columns_header: columns_header(table),
            },
            element: table.explode.as_ref().map(|_| Element::new()),
        };
        compiler.explode()?;
        compiler.filter()?;
        let keys = compiler.keys()?;
        for column in table
            .columns
            .iter()
            .filter(|c| !table.primary_key.contains(&c.name))
        {
            compiler.value(column)?;
        }
        compiler.id_is_stored();
        compiler.finish(keys)
    }

    /// The `columns` header of every load into the table.
    pub fn columns_header(&self) -> &str {
        &self.columns_header
    }

    pub fn deletes(&self) -> Deletes {
        self.deletes
    }

    /// How rows of this mapping are taken away.
    pub fn removal(&self) -> Option<&keytext::Removal> {
        self.removal.as_ref()
    }

    /// How the table is asked what it holds of a document; `None`: an event says by itself which row it is about.
    pub fn index(&self) -> Option<&keytext::IndexPlan> {
        self.indexed.as_deref().map(|indexed| &indexed.plan)
    }
}

/// What the relay needs to know of a table beyond its mapping.
trait Table {
    fn longest_key(&self) -> usize;
    /// Rows must be looked up: also a tombstone is written only for a row that is there (correctness rule 10).
    fn looks_up(&self) -> bool;
}

impl Table for TableConfig {
    fn longest_key(&self) -> usize {
        let last = self.primary_key.len().saturating_sub(1);
        let column = |name: &String| self.columns.iter().find(|c| c.name == *name);
        self.primary_key
            .iter()
            .enumerate()
            .filter_map(|(i, name)| Some(keytext::longest(&column(name)?.column_type, i == last)))
            .sum()
    }

    fn looks_up(&self) -> bool {
        self.is_own_index() || (self.filter.is_some() && self.deletes == Deletes::Soft)
    }
}

/// Explicit names, for one reason: a table may have columns this mapping does not know (an adopted table, a schema change half
/// way), and a column that the header does not list takes its DEFAULT, while without a header it is listed implicitly and
/// takes NULL, which fails the load when it is NOT NULL (stream-load facts on `columns`). It protects from nothing else:
/// an unknown name in it is ignored without a word.
fn columns_header(table: &TableConfig) -> String {
    let mut names: Vec<String> = table.columns.iter().map(|c| format!("`{}`", c.name)).collect();
    names.extend([format!("`{VER_COLUMN}`"), format!("`{EXTRA_COLUMN}`")]);
    names.push(match table.deletes {
        Deletes::Hard => "__op".to_owned(),
        Deletes::Soft => format!("`{DELETED_COLUMN}`"),
    });
    names.join(",")
}

struct Compiler<'a> {
    dataset: &'a DatasetConfig,
    table: &'a TableConfig,
    mapping: Mapping,
    element: Option<Element>,
}

impl Compiler<'_> {
    fn table_name(&self) -> String {
        self.table.table.clone()
    }

    fn explode(&mut self) -> Result<(), MappingError> {
        let Some(explode) = &self.table.explode else {
            return Ok(());
        };
        let steps = path::parse(&explode.path).map_err(|why| MappingError::Explode {
            table: self.table_name(),
            why,
        })?;
        let node = self.mapping.level.tree.insert(&steps);
        self.mapping.level.tree.nodes[node].explode = true;
        Ok(())
    }

    fn filter(&mut self) -> Result<(), MappingError> {
        if let Some(text) = &self.table.filter {
            let program = Program::compile(text, false).map_err(|why| MappingError::Filter {
                table: self.table_name(),
                why,
            })?;
            self.mapping.filter = Some(program);
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<Vec<IndexedKey>, MappingError> {
        let table = self.table;
        if table.primary_key.is_empty() {
            return Err(MappingError::NoKey {
                table: self.table_name(),
            });
        }
        let mut keys = Vec::new();
        for name in &table.primary_key {
            let column = table.columns.iter().find(|c| c.name == *name).ok_or_else(|| {
                MappingError::KeyNotDeclared {
                    table: self.table_name(),
                    column: name.clone(),
                }
            })?;
            if !column.column_type.is_key_type() {
                let why = format!("{} cannot be part of a primary key", column.column_type);
                return Err(MappingError::KeyType {
                    table: self.table_name(),
                    column: name.clone(),
                    why,
                });
            }
            let mut prefix = prefix_of(name);
            if keys.is_empty() {
                prefix[0] = b'{';
            }
            let from = self.key_from(column)?;
            keys.push(IndexedKey {
                name: name.clone(),
                prefix,
                ty: column.column_type.clone(),
                from,
            });
        }
        Ok(keys)
    }

    fn key_from(&mut self, column: &ColumnConfig) -> Result<KeyFrom, MappingError> {
        if let Some(source) = self.known(column)? {
            return Ok(KeyFrom::Known(source));
        }
        Ok(match &column.source {
            ColumnSource::Meta(MetaSource::Ordinal) => KeyFrom::Ordinal,
            ColumnSource::Expr(text) => KeyFrom::Expr(self.program(column, text)?),
            ColumnSource::Element(_) => KeyFrom::Element(self.leaf(column, true)?),
            ColumnSource::Path(_) | ColumnSource::Value(_) | ColumnSource::Meta(_) => {
                KeyFrom::Document(self.leaf(column, true)?)
            }
        })
    }

    fn finish(mut self, keys: Vec<IndexedKey>) -> Result<Mapping, MappingError> {
        self.mapping.removal = Some(keytext::Removal::new(self.table, &self.mapping.delete_fill));
        self.mapping.computes = self.mapping.filter.is_some() || !self.mapping.exprs.is_empty();
        if self.table.looks_up() {
            let doc = self.table.doc_column().map(|c| c.name.as_str());
            let doc = keys.iter().position(|key| Some(key.name.as_str()) == doc);
            let doc = doc.ok_or_else(|| MappingError::NoDocument {
                table: self.table_name(),
            })?;
            let plan = keytext::IndexPlan::new(self.table, &keys, doc, &self.mapping.delete_fill);
            self.mapping.indexed = Some(Box::new(Indexed {
                keys,
                doc,
                element: self.element,
                plan,
            }));
            return Ok(self.mapping);
        }
        for key in keys {
            let KeyFrom::Known(source) = key.from else {
                // `looks_up` is true for every other kind.
                return Err(MappingError::NoDocument {
                    table: self.table.table.clone(),
                });
            };
            self.mapping.key_columns.push(KnownColumn {
                name: key.name,
                prefix: key.prefix,
                ty: key.ty,
                source,
                absent: Absent::Refused,
            });
        }
        Ok(self.mapping)
    }

    fn value(&mut self, column: &ColumnConfig) -> Result<(), MappingError> {
        let prefix = prefix_of(&column.name);
        if !column.nullable {
            let filler = match &column.default {
                Some(text) => self.literal(column, text)?,
                None => zero_of(&column.column_type),
            };
            self.mapping.delete_fill.extend([&prefix[..], &filler].concat());
        }
        if let Some(source) = self.known(column)? {
            let absent = self.absent(column, &prefix)?;
            self.mapping.known_columns.push(KnownColumn {
                name: column.name.clone(),
                prefix,
                ty: column.column_type.clone(),
                source,
                absent,
            });
            return Ok(());
        }
        match &column.source {
            ColumnSource::Expr(text) => {
                let program = self.program(column, text)?;
                let per_element =
                    program.uses(Variable::Element) || program.uses(Variable::Meta(Meta::Ordinal));
                let column = ExprColumn {
                    name: column.name.clone(),
                    ty: column.column_type.clone(),
                    on_error: column.on_error,
                    absent: self.absent(column, &prefix)?,
                    unfit: Absent::new(&prefix, None, column.nullable),
                    prefix,
                    program,
                };
                match &mut self.element {
                    Some(element) if per_element => element.exprs.push(column),
                    _ => self.mapping.exprs.push(column),
                }
            }
            ColumnSource::Meta(_) => {
                if let Some(element) = &mut self.element {
                    element.ordinals.push(prefix);
                }
            }
            _ => {
                self.leaf(column, false)?;
            }
        }
        Ok(())
    }

    fn absent(&self, column: &ColumnConfig, prefix: &[u8]) -> Result<Absent, MappingError> {
        let default = match &column.default {
            Some(text) => Some(self.literal(column, text)?),
            None => None,
        };
        Ok(Absent::new(prefix, default.as_deref(), column.nullable))
    }

    /// A column read from the document or the element; answers its place among the leaves.
    fn leaf(&mut self, column: &ColumnConfig, is_key: bool) -> Result<usize, MappingError> {
        let prefix = if is_key {
            Vec::new()
        } else {
            prefix_of(&column.name)
        };
        let leaf = Leaf {
            name: column.name.clone(),
            absent: if is_key {
                Absent::Refused
            } else {
                self.absent(column, &prefix)?
            },
            unfit: Absent::new(&prefix, None, column.nullable && !is_key),
            prefix,
            ty: column.column_type.clone(),
            on_error: if is_key { OnError::Reject } else { column.on_error },
            is_key,
        };
        let (text, of_element) = match &column.source {
            ColumnSource::Element(path) => (path, true),
            ColumnSource::Path(path) => (path, false),
            other => return Err(self.column_error(column, format!("{} is no path", source_text(other)))),
        };
        let steps = if text.is_empty() && of_element {
            Vec::new()
        } else {
            path::parse(text).map_err(|error| self.column_error(column, error.to_string()))?
        };
        let level = match &mut self.element {
            Some(element) if of_element => &mut element.level,
            None if of_element => {
                return Err(self.column_error(column, "$element needs explode".to_owned()));
            }
            _ => &mut self.mapping.level,
        };
        let node = level.tree.insert(&steps);
        level.tree.nodes[node].leaves.push(level.leaves.len());
        level.leaves.push(leaf);
        Ok(level.leaves.len() - 1)
    }

    fn program(&self, column: &ColumnConfig, text: &str) -> Result<Program, MappingError> {
        Program::compile(text, self.element.is_some())
            .map_err(|error| self.column_error(column, format!("expr: {error}")))
    }

    /// The source of a column that needs neither document nor element. `None`: it does.
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
                match source {
                    MetaSource::Tenant => {
                        Some(KeySource::Constant(self.literal(column, &self.dataset.tenant)?))
                    }
                    MetaSource::Dataset => {
                        Some(KeySource::Constant(self.literal(column, &self.dataset.name)?))
                    }
                    MetaSource::Ordinal if self.element.is_none() => {
                        return Err(self.column_error(column, "$ordinal needs explode".to_owned()));
                    }
                    MetaSource::Ordinal => None,
                    source => Some(KeySource::Meta(*source)),
                }
            }
        })
    }

    /// The key columns hold `_id` (the primary key determines the document), so a document's own copy is not overflow.
    fn id_is_stored(&mut self) {
        let tree = &mut self.mapping.level.tree;
        let node = tree.insert(&[Step::Name("_id".into())]);
        let node = &mut tree.nodes[node];
        node.ignore = node.leaves.is_empty() && node.is_leaf();
    }

    fn literal(&self, column: &ColumnConfig, text: &str) -> Result<Vec<u8>, MappingError> {
        convert::literal(text, &column.column_type).map_err(|why| self.column_error(column, why))
    }

    fn column_error(&self, column: &ColumnConfig, why: String) -> MappingError {
        MappingError::Column {
            table: self.table.table.clone(),
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
