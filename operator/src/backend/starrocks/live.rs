//! A table as StarRocks describes it: plain data, read by the client, judged by `table::ddl::plan`.

use std::collections::BTreeMap;

use tributary_crds::column::ColumnType;

/// One live column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveColumn {
    pub name: String,
    /// `COLUMN_TYPE` as the server spells it.
    pub type_text: String,
    /// The same in Tributary's words; `None` for a type it does not make.
    pub column_type: Option<ColumnType>,
    pub nullable: bool,
    pub default: Option<String>,
    pub comment: String,
    /// Computed by the server from others.
    pub generated: bool,
}

/// One live table of any model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTable {
    pub database: String,
    pub table: String,
    pub comment: String,
    /// Changes when the table is swapped or re-created.
    pub table_id: Option<String>,
    /// `PRIMARY_KEYS`, `DUP_KEYS`, …; empty for a view.
    pub model: String,
    pub primary_key: Vec<String>,
    pub partition_key: Vec<String>,
    pub distribute_type: String,
    pub distribute_key: Vec<String>,
    /// 0: chosen by the server.
    pub buckets: u32,
    pub sort_key: Vec<String>,
    pub properties: BTreeMap<String, String>,
    /// In the table's order.
    pub columns: Vec<LiveColumn>,
}

impl LiveTable {
    /// Column names are case-insensitive in StarRocks.
    pub fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Whether ADD COLUMN is metadata only; `None` when the server does not say.
    pub fn fast_schema_evolution(&self) -> Option<bool> {
        self.properties
            .get("fast_schema_evolution")
            .map(|v| v.eq_ignore_ascii_case("true"))
    }
}

/// `` `a`, `b` `` or `a, b` as a list. `tables_config` quotes some of its lists.
pub(super) fn name_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|part| part.trim().trim_matches('`').to_owned())
        .filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("null"))
        .collect()
}

/// The JSON object of `tables_config.PROPERTIES`; an unreadable one is no statement about any property.
pub(super) fn properties(text: &str) -> BTreeMap<String, String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let value = |v: serde_json::Value| match v {
        serde_json::Value::String(s) => s,
        other => other.to_string(),
    };
    object.into_iter().map(|(k, v)| (k, value(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_properties_of_tables_config_are_read() {
        assert_eq!(name_list("`tenant`, `order_id`"), ["tenant", "order_id"]);
        assert_eq!(name_list("id"), ["id"]);
        assert_eq!(name_list(""), Vec::<String>::new());
        let p = properties(r#"{"replication_num":"1","fast_schema_evolution":true}"#);
        assert_eq!(p.get("fast_schema_evolution").map(String::as_str), Some("true"));
        assert!(properties("not json").is_empty());
    }
}
