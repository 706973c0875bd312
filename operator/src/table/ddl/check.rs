//! Whether a StarRocks version would take a statement, and which rule it breaks if not. Grammar first
//! ([`check_syntax`]), then what the server's analyzer says about tables and their columns.

use std::fmt;

use super::grammar::{
    Ast, Clause, ColumnAst, DefaultAst, DistributionAst, KeyModel, SqlType, TableAst, TypeName, parse,
};
use super::version::{Feature, Version};

/// Rules of the server. [`Rule::server_text`] is what it would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The text does not follow the grammar of the version.
    Syntax,
    KeyColumnsFirst,
    UnknownColumn,
    KeyColumnType,
    KeyColumnNullable,
    SortKeyType,
    HashDistribution,
    DistributionColumnNotKey,
    PartitionColumnNotKey,
    PartitionColumnType,
    ColumnName,
    ReservedColumnName,
    DuplicateColumn,
    TooManyColumns,
    VarcharWithoutLength,
    VarcharLength,
    DecimalPrecision,
    ColumnType,
    DefaultValue,
    GeneratedColumnsLast,
    InMemoryIndex,
    StorageCooldown,
    BloomFilterType,
    PropertyVersion,
    AddKeyColumn,
    AddNotNullColumn,
    AddDefaultExpression,
    MixedClauses,
    OneProperty,
    FixedProperty,
    RenameColumnVersion,
    StructFieldVersion,
}

impl Rule {
    /// The server's words, where they are known; else what it means.
    pub fn server_text(self) -> &'static str {
        match self {
            Self::Syntax => "Getting syntax error",
            Self::KeyColumnsFirst => {
                "Key columns must be the first few columns of the schema and the order of the key columns must be consistent with the order of the schema"
            }
            Self::UnknownColumn => "Key column doesn't exist",
            Self::KeyColumnType => "Invalid data type of primary key",
            Self::KeyColumnNullable => "primary key column cannot be nullable",
            Self::SortKeyType => "Invalid data type of sort key",
            Self::HashDistribution => "PRIMARY KEY must use hash distribution",
            Self::DistributionColumnNotKey => "Distribution column is not key column",
            Self::PartitionColumnNotKey => "The partition column must be key column",
            Self::PartitionColumnType => "partition columns cannot be FLOAT, DOUBLE or complex",
            Self::ColumnName => "Incorrect column name",
            Self::ReservedColumnName => "Column name is reserved",
            Self::DuplicateColumn => "Duplicate column name",
            Self::TooManyColumns => "max_column_number_per_table exceeded",
            Self::VarcharWithoutLength => "VARCHAR without a length is VARCHAR(1)",
            Self::VarcharLength => "Varchar size must be <= 1048576",
            Self::DecimalPrecision => "DECIMAL's precision should range from 1 to 38",
            Self::ColumnType => "the type cannot be stored in a primary-key table",
            Self::DefaultValue => "Invalid default value",
            Self::GeneratedColumnsLast => "generated columns must be after all ordinary columns",
            Self::InMemoryIndex => "In-Memory index is not supported",
            Self::StorageCooldown => "storage cooldown is not supported on primary-key tables",
            Self::BloomFilterType => "the type cannot have a bloom filter",
            Self::PropertyVersion => "the version does not know the property",
            Self::AddKeyColumn => "Can not add key column for primary key table",
            Self::AddNotNullColumn => "a NOT NULL column without default cannot be added",
            Self::AddDefaultExpression => "unsupported default expr",
            Self::MixedClauses => "only schema-change clauses can be combined in one ALTER TABLE",
            Self::OneProperty => "Can only set one table property at a time",
            Self::FixedProperty => "the property can only be set at creation",
            Self::RenameColumnVersion => "RENAME COLUMN is not implemented before 3.3.2",
            Self::StructFieldVersion => "ADD/DROP FIELD is not implemented before 3.2.10 and 3.3.2",
        }
    }
}

/// A broken rule and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    pub rule: Rule,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule, self.detail.is_empty()) {
            (Rule::Syntax, false) => f.write_str(&self.detail),
            (rule, true) => f.write_str(rule.server_text()),
            (rule, false) => write!(f, "{}: {}", rule.server_text(), self.detail),
        }
    }
}

type Checked = Result<(), Violation>;

fn broken<T>(rule: Rule, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation {
        rule,
        detail: detail.into(),
    })
}

fn parsed(sql: &str, version: Version) -> Result<Ast, Violation> {
    parse(sql, version).or_else(|e| broken(Rule::Syntax, e.to_string()))
}

/// Grammar alone: agrees with the parser of `version`.
pub fn check_syntax(sql: &str, version: Version) -> Checked {
    parsed(sql, version).map(drop)
}

/// Grammar, then the analyzer's rules. Stricter than the server in one point: a VARCHAR must say its length.
pub fn check(sql: &str, version: Version) -> Checked {
    match parsed(sql, version)? {
        Ast::CreateTable(table) => create_table(&table, version),
        Ast::AlterTable(clauses) => alter_table(&clauses, version),
        Ast::Other => Ok(()),
    }
}

/// `max_column_number_per_table`.
const COLUMNS_MAX: usize = 10_000;

fn create_table(table: &TableAst, version: Version) -> Checked {
    if table.columns.len() > COLUMNS_MAX {
        return broken(Rule::TooManyColumns, table.columns.len().to_string());
    }
    let mut seen = std::collections::HashSet::new();
    let mut generated = false;
    for column in &table.columns {
        if !seen.insert(column.name.to_ascii_lowercase()) {
            return broken(Rule::DuplicateColumn, &column.name);
        }
        if generated && !column.generated {
            return broken(Rule::GeneratedColumnsLast, &column.name);
        }
        generated |= column.generated;
        check_column(column, version)?;
    }
    if table.key.as_ref().is_some_and(|k| k.model == KeyModel::Primary) {
        primary_key_table(table)?;
    }
    for (key, value) in &table.properties {
        property(key, value, table, version)?;
    }
    Ok(())
}

fn primary_key_table(table: &TableAst) -> Checked {
    let key = table.key.as_ref().map_or(&[][..], |k| &k.columns);
    for (i, name) in key.iter().enumerate() {
        let declared = find(table, name)?;
        if !table.columns.get(i).is_some_and(|c| same(&c.name, name)) {
            return broken(Rule::KeyColumnsFirst, name);
        }
        if !is_key_type(&declared.sql_type) {
            return broken(Rule::KeyColumnType, format!("{name} {}", declared.sql_type));
        }
        if declared.nullable == Some(true) {
            return broken(Rule::KeyColumnNullable, name);
        }
        if declared.generated {
            return broken(Rule::KeyColumnType, format!("{name} is generated"));
        }
    }
    for name in &table.order_by {
        let declared = find(table, name)?;
        if !is_key_type(&declared.sql_type) {
            return broken(Rule::SortKeyType, format!("{name} {}", declared.sql_type));
        }
    }
    let in_key = |name: &String| key.iter().any(|k| same(k, name));
    match &table.distribution {
        Some(DistributionAst::Random) => return broken(Rule::HashDistribution, ""),
        Some(DistributionAst::Hash(columns)) => {
            if let Some(name) = columns.iter().find(|n| !in_key(n)) {
                return broken(Rule::DistributionColumnNotKey, name);
            }
        }
        None => {}
    }
    let partition = table.partition.iter().flat_map(|p| &p.columns);
    for name in partition {
        let column = find(table, name)?;
        let complex = !column.sql_type.inner.is_empty();
        let float = matches!(column.sql_type.name, TypeName::Float | TypeName::Double);
        if complex || float {
            return broken(Rule::PartitionColumnType, name);
        }
        if !in_key(name) {
            return broken(Rule::PartitionColumnNotKey, name);
        }
    }
    Ok(())
}

fn find<'a>(table: &'a TableAst, name: &str) -> Result<&'a ColumnAst, Violation> {
    let found = table.columns.iter().find(|c| same(&c.name, name));
    match found {
        Some(column) => Ok(column),
        None => broken(Rule::UnknownColumn, name),
    }
}

/// Column names are case-insensitive.
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn is_key_type(t: &SqlType) -> bool {
    use TypeName as T;
    matches!(
        t.name,
        T::Boolean
            | T::TinyInt
            | T::SmallInt
            | T::Int
            | T::BigInt
            | T::LargeInt
            | T::Varchar
            | T::Date
            | T::DateTime
    )
}

/// Rules that hold for a column wherever it is declared.
fn check_column(column: &ColumnAst, version: Version) -> Checked {
    column_name(&column.name)?;
    check_type(&column.name, &column.sql_type, version)?;
    match &column.default {
        Some(default) => check_default(column, default),
        None => Ok(()),
    }
}

/// `^[^\0=<>!\*]{1,1024}$` and the names StarRocks keeps for itself.
fn column_name(name: &str) -> Checked {
    let length = name.chars().count();
    if !(1..=1024).contains(&length) || name.contains(['\0', '=', '<', '>', '!', '*']) {
        return broken(Rule::ColumnName, format!("{name:?}"));
    }
    let lower = name.to_ascii_lowercase();
    let prefixes = ["__starrocks_shadow_", "__generated_partition_column_"];
    if matches!(lower.as_str(), "__op" | "__row") || prefixes.iter().any(|p| lower.starts_with(p)) {
        return broken(Rule::ReservedColumnName, name);
    }
    Ok(())
}

fn check_type(column: &str, t: &SqlType, version: Version) -> Checked {
    match (t.name, t.args.as_slice()) {
        (TypeName::Varchar, []) if !t.unbounded => broken(Rule::VarcharWithoutLength, column),
        (TypeName::Varchar, [length]) => {
            let max = match version.has(Feature::LongVarchar) {
                true => 2_147_482_624,
                false => 1_048_576,
            };
            match (1..=max).contains(length) {
                true => Ok(()),
                false => broken(Rule::VarcharLength, format!("{column} {t}")),
            }
        }
        (TypeName::Char, [length]) if !(1..=255).contains(length) => {
            broken(Rule::ColumnType, format!("{column} {t}"))
        }
        (TypeName::Decimal | TypeName::Decimal256, args) => decimal(column, t, args, version),
        (TypeName::Time | TypeName::Hll | TypeName::Bitmap | TypeName::Percentile, _) => {
            broken(Rule::ColumnType, format!("{column} {t}"))
        }
        _ => {
            for inner in &t.inner {
                check_type(column, inner, version)?;
            }
            Ok(())
        }
    }
}

fn decimal(column: &str, t: &SqlType, args: &[u64], version: Version) -> Checked {
    let max = match version.has(Feature::Decimal256) {
        true => 76,
        false => 38,
    };
    // DECIMAL alone is DECIMAL(10,0).
    let precision = args.first().copied().unwrap_or(10);
    let scale = args.get(1).copied().unwrap_or(0);
    if (1..=max).contains(&precision) && scale <= precision {
        return Ok(());
    }
    broken(Rule::DecimalPrecision, format!("{column} {t}"))
}

fn check_default(column: &ColumnAst, default: &DefaultAst) -> Checked {
    use TypeName as T;
    let t = &column.sql_type;
    let wrong = |why: &str| broken(Rule::DefaultValue, format!("{} {t}: {why}", column.name));
    match default {
        DefaultAst::Null if column.nullable == Some(false) => wrong("NULL for a NOT NULL column"),
        DefaultAst::Null => Ok(()),
        DefaultAst::CurrentTimestamp if t.name == T::DateTime => Ok(()),
        DefaultAst::CurrentTimestamp => wrong("current_timestamp is for DATETIME"),
        DefaultAst::Function(f) => match (f.as_str(), t.name, t.args.first()) {
            ("uuid", T::Varchar, Some(length)) if *length >= 36 => Ok(()),
            ("uuid", T::Varchar, None) if t.unbounded => Ok(()),
            ("uuid_numeric", T::LargeInt, _) => Ok(()),
            _ => wrong("only uuid() for VARCHAR(36) and uuid_numeric() for LARGEINT"),
        },
        DefaultAst::Literal(text) => match literal_fits(text, t) {
            true => Ok(()),
            false => wrong("the text is no value of the type"),
        },
    }
}

/// JSON, binary and complex types take no default before versions newer than the corpus knows.
fn literal_fits(text: &str, t: &SqlType) -> bool {
    use TypeName as T;
    let within = |low: i128, high: i128| text.parse::<i128>().is_ok_and(|n| n >= low && n <= high);
    match t.name {
        T::Boolean => ["true", "false", "0", "1"].iter().any(|v| same(v, text)),
        T::TinyInt => within(i8::MIN.into(), i8::MAX.into()),
        T::SmallInt => within(i16::MIN.into(), i16::MAX.into()),
        T::Int => within(i32::MIN.into(), i32::MAX.into()),
        T::BigInt => within(i64::MIN.into(), i64::MAX.into()),
        T::LargeInt => text.parse::<i128>().is_ok(),
        T::Float | T::Double | T::Decimal | T::Decimal256 => text.parse::<f64>().is_ok_and(f64::is_finite),
        T::Varchar | T::Char => {
            let max = t.args.first().copied().unwrap_or(65_533);
            u64::try_from(text.len()).is_ok_and(|length| length <= max)
        }
        T::Date | T::DateTime => {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            digits >= 8 && text.chars().all(|c| c.is_ascii_digit() || "-: .T".contains(c))
        }
        _ => false,
    }
}

fn property(key: &str, value: &str, table: &TableAst, version: Version) -> Checked {
    let primary = table.key.as_ref().is_some_and(|k| k.model == KeyModel::Primary);
    match key {
        "enable_persistent_index" if primary && same(value, "false") => {
            broken(Rule::InMemoryIndex, "enable_persistent_index")
        }
        _ if primary && key.starts_with("storage_cooldown") => broken(Rule::StorageCooldown, key),
        "partition_retention_condition" if !version.has(Feature::RetentionCondition) => {
            broken(Rule::PropertyVersion, format!("{key} needs 3.5"))
        }
        _ if key.starts_with("flat_json.") && !version.has(Feature::FlatJsonProperties) => {
            broken(Rule::PropertyVersion, format!("{key} needs 4.0"))
        }
        "compression" if value.contains('(') && !version.has(Feature::CompressionLevel) => {
            broken(Rule::PropertyVersion, format!("{key}={value} needs 3.3.2"))
        }
        "bloom_filter_columns" => value.split(',').try_for_each(|name| {
            let column = find(table, name.trim())?;
            match can_have_bloom_filter(&column.sql_type) {
                true => Ok(()),
                false => broken(Rule::BloomFilterType, name.trim()),
            }
        }),
        _ => Ok(()),
    }
}

fn can_have_bloom_filter(t: &SqlType) -> bool {
    use TypeName as T;
    matches!(
        t.name,
        T::SmallInt | T::Int | T::BigInt | T::LargeInt | T::Varchar | T::Char | T::Date | T::DateTime
    )
}

fn alter_table(clauses: &[Clause], version: Version) -> Checked {
    if clauses.len() > 1
        && let Some(odd) = clauses.iter().position(|c| !c.is_schema_change())
    {
        return broken(Rule::MixedClauses, format!("clause {}", odd + 1));
    }
    clauses.iter().try_for_each(|c| clause(c, version))
}

fn clause(clause: &Clause, version: Version) -> Checked {
    match clause {
        Clause::AddColumns(columns) => columns.iter().try_for_each(|c| added_column(c, version)),
        Clause::ModifyColumn(column) => check_column(column, version),
        Clause::RenameColumn if !version.has(Feature::RenameColumnWorks) => {
            broken(Rule::RenameColumnVersion, "")
        }
        Clause::Field if !version.has(Feature::StructFieldWorks) => broken(Rule::StructFieldVersion, ""),
        Clause::SetProperties(properties) => set_properties(properties, version),
        _ => Ok(()),
    }
}

fn added_column(column: &ColumnAst, version: Version) -> Checked {
    check_column(column, version)?;
    if column.key {
        return broken(Rule::AddKeyColumn, &column.name);
    }
    match (&column.default, column.nullable) {
        (Some(DefaultAst::Function(f)), _) => broken(Rule::AddDefaultExpression, f),
        (None | Some(DefaultAst::Null), Some(false)) if !column.generated && !column.auto_increment => {
            broken(Rule::AddNotNullColumn, &column.name)
        }
        _ => Ok(()),
    }
}

fn set_properties(properties: &[(String, String)], version: Version) -> Checked {
    if let Some((key, _)) = properties.iter().find(|(k, _)| k == "fast_schema_evolution") {
        return broken(Rule::FixedProperty, key);
    }
    if let [(first, _), rest @ ..] = properties {
        let family = |key: &str| key.split_once('.').map(|(family, _)| family.to_owned());
        let together = rest
            .iter()
            .all(|(k, _)| family(k).is_some() && family(k) == family(first));
        if !together {
            return broken(Rule::OneProperty, format!("{} properties", properties.len()));
        }
    }
    let retention = properties
        .iter()
        .any(|(k, _)| k == "partition_retention_condition");
    if retention && !version.has(Feature::RetentionCondition) {
        return broken(Rule::PropertyVersion, "partition_retention_condition needs 3.5");
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
