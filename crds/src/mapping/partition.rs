//! `partitionBy` as a type: what StarRocks partitions a primary-key table by, without a word of SQL passed through.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// Automatic list partitions, one per combination of values.
    Columns(Vec<String>),
    /// Automatic range partitions by time.
    DateTrunc { unit: TimeUnit, column: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Hour,
    Day,
    Month,
    Year,
}

impl TimeUnit {
    const NAMES: [(&'static str, Self); 4] = [
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("month", Self::Month),
        ("year", Self::Year),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl PartitionBy {
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Columns(columns) => columns,
            Self::DateTrunc { column, .. } => std::slice::from_ref(column),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not understood: write date_trunc('hour|day|month|year', column) or key columns a, b")]
pub struct InvalidPartition(pub String);

impl FromStr for PartitionBy {
    type Err = InvalidPartition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPartition(text.to_owned());
        let Some((function, rest)) = text.split_once('(') else {
            return column_list(text).map(Self::Columns).ok_or_else(invalid);
        };
        let args = rest.trim_end().strip_suffix(')').ok_or_else(invalid)?;
        if function.trim().is_empty() {
            return column_list(args).map(Self::Columns).ok_or_else(invalid);
        }
        if !function.trim().eq_ignore_ascii_case("date_trunc") {
            return Err(invalid());
        }
        let (unit, column) = args.split_once(',').ok_or_else(invalid)?;
        let unit = unquoted(unit).ok_or_else(invalid)?.to_ascii_lowercase();
        let unit = TimeUnit::NAMES
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(invalid)?
            .1;
        let column = identifier(column).ok_or_else(invalid)?;
        Ok(Self::DateTrunc { unit, column })
    }
}

fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"']
        .iter()
        .find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn column_list(text: &str) -> Option<Vec<String>> {
    text.split(',').map(identifier).collect()
}

fn identifier(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = text
        .strip_prefix('`')
        .and_then(|t| t.strip_suffix('`'))
        .unwrap_or(text);
    let valid = !bare.is_empty() && bare.chars().all(|c| c.is_alphanumeric() || c == '_');
    valid.then(|| bare.to_owned())
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns(columns) => f.write_str(&columns.join(", ")),
            Self::DateTrunc { unit, column } => {
                write!(f, "date_trunc('{}', {column})", unit.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_nothing_else() {
        let parsed = |text: &str| text.parse::<PartitionBy>().map(|p| p.to_string());
        assert_eq!(
            parsed("date_trunc('month', created_on)").unwrap(),
            "date_trunc('month', created_on)"
        );
        assert_eq!(
            parsed("DATE_TRUNC( \"DAY\" ,`d`)").unwrap(),
            "date_trunc('day', d)"
        );
        assert_eq!(parsed("(tenant, region)").unwrap(), "tenant, region");
        assert_eq!(parsed("tenant").unwrap(), "tenant");
        for bad in [
            "",
            "a b",
            "date_trunc('week', d)",
            "date_trunc(day, d)",
            "time_slice(d, x)",
            "a); DROP TABLE x",
            "date_trunc('day', d",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
