//! Session variables clients read at connect, and what SET changes.

use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

const DEFAULTS: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("autocommit", "1"),
    ("character_set_client", "utf8"),
    ("character_set_connection", "utf8"),
    ("character_set_results", "utf8"),
    ("character_set_server", "utf8"),
    ("collation_connection", "utf8_general_ci"),
    ("collation_database", "utf8_general_ci"),
    ("collation_server", "utf8_general_ci"),
    ("enable_profile", "false"),
    ("init_connect", ""),
    ("interactive_timeout", "3600"),
    ("license", "Apache License 2.0"),
    ("lower_case_table_names", "0"),
    ("max_allowed_packet", "33554432"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "60"),
    ("net_write_timeout", "60"),
    ("performance_schema", "false"),
    ("query_cache_size", "1048576"),
    ("query_cache_type", "0"),
    ("query_timeout", "300"),
    ("run_mode", "shared_nothing"),
    ("socket", ""),
    ("sql_auto_is_null", "false"),
    ("sql_mode", "ONLY_FULL_GROUP_BY"),
    ("sql_safe_updates", "0"),
    ("sql_select_limit", "9223372036854775807"),
    ("system_time_zone", "UTC"),
    ("time_zone", "UTC"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("transaction_read_only", "OFF"),
    ("tx_read_only", "OFF"),
    ("version", "8.0.33"),
    ("wait_timeout", "28800"),
];

impl Default for Variables {
    fn default() -> Self {
        let mut values: BTreeMap<String, String> = DEFAULTS
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        values.insert("version_comment".into(), "standin-starrocks".into());
        Self { values }
    }
}

impl Variables {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.values.iter()
    }

    /// `SET a = 1, SESSION b = 'x', NAMES utf8mb4`. Unknown names are taken as they are, as most clients set some.
    pub fn set(&mut self, assignments: &str) {
        for assignment in assignments.split(',') {
            let Some((name, value)) = assignment.split_once('=') else {
                continue;
            };
            let name = name.trim().trim_start_matches("@@").to_ascii_lowercase();
            let name = name
                .rsplit([' ', '.'])
                .next()
                .unwrap_or_default()
                .trim_matches('`')
                .trim_end_matches(':');
            let value = value.trim().trim_matches(|c| c == '\'' || c == '"');
            if !name.is_empty() {
                self.values.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_changes_what_show_prints() {
        let mut variables = Variables::default();
        variables.set("SESSION query_timeout = 10, @@sql_mode='X'");
        assert_eq!(variables.get("QUERY_TIMEOUT"), Some("10"));
        assert_eq!(variables.get("sql_mode"), Some("X"));
        variables.set("NAMES utf8mb4");
    }
}
