use super::*;

fn rule(sql: &str) -> Option<Rule> {
    check(sql, Version::new(3, 5, 2)).err().map(|v| v.rule)
}

/// A primary-key table with these columns and this tail.
fn table(columns: &str, tail: &str) -> Option<Rule> {
    rule(&format!("CREATE TABLE d.t ({columns}) PRIMARY KEY(id) {tail}"))
}

#[test]
fn each_rule_of_a_table_fires_alone() {
    let hash = "DISTRIBUTED BY HASH(id)";
    let id = "id BIGINT NOT NULL";
    let cases = [
        ("id BIGINT NOT NULL, v INT", hash, None),
        ("v INT, id BIGINT NOT NULL", hash, Some(Rule::KeyColumnsFirst)),
        ("v INT", hash, Some(Rule::UnknownColumn)),
        ("id DOUBLE NOT NULL", hash, Some(Rule::KeyColumnType)),
        ("id CHAR(8) NOT NULL", hash, Some(Rule::KeyColumnType)),
        ("id BIGINT NULL", hash, Some(Rule::KeyColumnNullable)),
        (
            "id BIGINT, j JSON",
            "DISTRIBUTED BY HASH(id) ORDER BY (j)",
            Some(Rule::SortKeyType),
        ),
        (id, "DISTRIBUTED BY RANDOM", Some(Rule::HashDistribution)),
        (
            "id BIGINT, v INT",
            "DISTRIBUTED BY HASH(v)",
            Some(Rule::DistributionColumnNotKey),
        ),
        (
            "id BIGINT, d DATE",
            "PARTITION BY date_trunc('day', d) DISTRIBUTED BY HASH(id)",
            Some(Rule::PartitionColumnNotKey),
        ),
        ("id BIGINT, `a=b` INT", hash, Some(Rule::ColumnName)),
        ("id BIGINT, __OP INT", hash, Some(Rule::ReservedColumnName)),
        ("id BIGINT, Foo INT, foo INT", hash, Some(Rule::DuplicateColumn)),
        ("id BIGINT, v VARCHAR", hash, Some(Rule::VarcharWithoutLength)),
        ("id BIGINT, v VARCHAR(1048577)", hash, Some(Rule::VarcharLength)),
        ("id BIGINT, v DECIMAL(39,2)", hash, Some(Rule::DecimalPrecision)),
        (
            "id BIGINT, v ARRAY<DECIMAL(5,6)>",
            hash,
            Some(Rule::DecimalPrecision),
        ),
        ("id BIGINT, v TIME", hash, Some(Rule::ColumnType)),
        ("id BIGINT, v JSON DEFAULT \"{}\"", hash, Some(Rule::DefaultValue)),
        ("id BIGINT, v INT DEFAULT \"x\"", hash, Some(Rule::DefaultValue)),
        (
            "id BIGINT, v INT DEFAULT CURRENT_TIMESTAMP",
            hash,
            Some(Rule::DefaultValue),
        ),
        (
            "id BIGINT, v VARCHAR(35) DEFAULT (uuid())",
            hash,
            Some(Rule::DefaultValue),
        ),
        (
            "id BIGINT, g INT AS id + 1, v INT",
            hash,
            Some(Rule::GeneratedColumnsLast),
        ),
        (
            id,
            "DISTRIBUTED BY HASH(id) PROPERTIES(\"enable_persistent_index\"=\"false\")",
            Some(Rule::InMemoryIndex),
        ),
        (
            id,
            "DISTRIBUTED BY HASH(id) PROPERTIES(\"storage_cooldown_ttl\"=\"1 day\")",
            Some(Rule::StorageCooldown),
        ),
        (
            "id BIGINT, v DOUBLE",
            "DISTRIBUTED BY HASH(id) PROPERTIES(\"bloom_filter_columns\"=\"v\")",
            Some(Rule::BloomFilterType),
        ),
        (
            id,
            "DISTRIBUTED BY HASH(id) PROPERTIES(\"flat_json.enable\"=\"true\")",
            Some(Rule::PropertyVersion),
        ),
    ];
    for (columns, tail, expected) in cases {
        assert_eq!(table(columns, tail), expected, "{columns} | {tail}");
    }
}

#[test]
fn each_rule_of_a_change_fires_alone() {
    let cases = [
        ("ADD COLUMN v INT NULL", None),
        ("ADD COLUMN v INT NOT NULL DEFAULT \"0\"", None),
        ("ADD COLUMN v INT NOT NULL", Some(Rule::AddNotNullColumn)),
        ("ADD COLUMN v INT KEY", Some(Rule::AddKeyColumn)),
        (
            "ADD COLUMN v VARCHAR(36) DEFAULT (uuid())",
            Some(Rule::AddDefaultExpression),
        ),
        ("ADD COLUMN v VARCHAR NULL", Some(Rule::VarcharWithoutLength)),
        ("ADD COLUMN v INT NULL, COMMENT = \"x\"", Some(Rule::MixedClauses)),
        (
            "SET (\"fast_schema_evolution\"=\"true\")",
            Some(Rule::FixedProperty),
        ),
        ("SET (\"a\"=\"1\", \"b\"=\"2\")", Some(Rule::OneProperty)),
        (
            "SET (\"dynamic_partition.start\"=\"1\", \"dynamic_partition.end\"=\"2\")",
            None,
        ),
    ];
    for (clause, expected) in cases {
        assert_eq!(rule(&format!("ALTER TABLE d.t {clause}")), expected, "{clause}");
    }
}

#[test]
fn every_rule_says_something() {
    let violation = Violation {
        rule: Rule::ColumnName,
        detail: "x".into(),
    };
    assert_eq!(violation.to_string(), "Incorrect column name: x");
}
