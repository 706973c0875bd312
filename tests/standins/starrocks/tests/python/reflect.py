"""Creates a table and a view through the official dialect and compares what it reflects with what was made."""

import sys

from sqlalchemy import MetaData, Table, create_engine, inspect, text
from sqlalchemy.exc import NoSuchTableError

CREATE = """
CREATE TABLE gold.orders (
  id VARCHAR(24) NOT NULL COMMENT "key", d DATE NOT NULL, n BIGINT NULL DEFAULT "3",
  a DECIMAL(10,2) COMMENT 'amount', b BOOLEAN, l LARGEINT, j JSON, arr ARRAY<INT>,
  st STRUCT<x INT, y STRING>, m MAP<STRING,INT>, at DATETIME DEFAULT CURRENT_TIMESTAMP, f FLOAT, dd DOUBLE, c CHAR(3), s STRING
) PRIMARY KEY(id, d) COMMENT 'the orders' PARTITION BY date_trunc('day', d) DISTRIBUTED BY HASH(id) BUCKETS 4 ORDER BY(d)
PROPERTIES("replication_num"="1")
"""

TYPES = {
    "id": "VARCHAR(24)", "d": "DATE", "n": "BIGINT(20)", "a": "DECIMAL(10, 2)", "b": "BOOLEAN", "l": "LARGEINT", "j": "JSON",
    "arr": "ARRAY<INTEGER>", "st": "STRUCT<x INTEGER, y VARCHAR(65533)>", "m": "MAP<VARCHAR(65533), INTEGER>", "at": "DATETIME",
    "f": "FLOAT", "dd": "DOUBLE", "c": "CHAR(3)", "s": "VARCHAR(65533)",
}


def equal(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: found {found!r}, expected {expected!r}")


def main(address):
    engine = create_engine(f"starrocks://root:@{address}/")
    with engine.connect() as connection:
        for statement in (
            "CREATE DATABASE gold",
            CREATE,
            "CREATE VIEW gold.live COMMENT 'live' AS SELECT id, n FROM gold.orders WHERE b",
        ):
            connection.execute(text(statement))
    engine = create_engine(f"starrocks://root:@{address}/gold")
    seen = inspect(engine)
    equal("gold" in seen.get_schema_names(), True, "schemas")
    equal(seen.get_table_names(), ["orders"], "tables")
    equal(seen.get_view_names(), ["live"], "views")
    columns = {column["name"]: column for column in seen.get_columns("orders")}
    equal(list(columns), list(TYPES), "columns")
    for name, expected in TYPES.items():
        kind = columns[name]["type"].__class__.__name__
        equal(kind, expected.split("(")[0].split("<")[0], f"type of {name}")
    equal([name for name, column in columns.items() if not column["nullable"]], ["id", "d"], "NOT NULL")
    equal(columns["n"]["default"], "'3'", "default")
    equal(columns["a"]["comment"], "amount", "comment")
    equal((columns["a"]["type"].precision, columns["a"]["type"].scale), (10, 2), "decimal")
    equal(seen.get_pk_constraint("orders")["constrained_columns"], ["id", "d"], "primary key")
    equal(seen.get_table_comment("orders")["text"], "the orders", "table comment")
    options = seen.get_table_options("orders")
    equal(str(options["starrocks_primary_key"]), "id, d", "key clause")
    equal(str(options["starrocks_partition_by"]), "date_trunc('day', d)", "partition clause")
    equal(str(options["starrocks_distributed_by"]), "HASH(`id`) BUCKETS 4", "distribution")
    equal(options["starrocks_properties"]["replication_num"], "1", "properties")
    equal([column["name"] for column in seen.get_columns("live")], ["id", "n"], "view columns")
    equal("gold.orders" in seen.get_view_definition("live").replace("`", ""), True, "view definition")
    table = Table("orders", MetaData(), autoload_with=engine)
    equal([column.name for column in table.primary_key], ["id", "d"], "reflected table")
    equal(seen.has_table("nope"), False, "missing table")
    try:
        seen.get_columns("nope")
        sys.exit("columns of a missing table")
    except NoSuchTableError:
        pass
    print("reflected", len(columns), "columns")


main(sys.argv[1])
