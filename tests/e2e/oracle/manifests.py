"""Reads the custom resources from YAML: which collection feeds which table, and how each column is obtained.

Only what the rows depend on is read. Anything the oracle does not model is an error, never ignored: an oracle that
skips a feature would call wrong rows right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cel
import yaml

API_GROUP = "tributary.dev/"


class Unsupported(Exception):
    """The manifests use something this oracle does not model."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    source: str | None  # `from`: a path or a `$source`
    value: str | None  # a constant
    bson: str | None
    default: str | None
    on_error: str
    expr: cel.Node | None = None
    key: bool = False


#: A key column that no table declares: the document's identity.
DOC = Column("_doc", "VARCHAR(128)", "$key", None, None, None, "Reject", key=True)


@dataclass(frozen=True)
class Feed:
    """One dataset of one pipeline, and the table rows it must become."""

    pipeline: str
    tenant: str
    dataset: str
    topic: str
    database: str
    collection: str
    columns: tuple[Column, ...]
    explode: str | None = None
    where: cel.Node | None = None
    on_reject: str = "KeepOld"


@dataclass
class Table:
    """One physical StarRocks table with everything that feeds it."""

    database: str
    name: str
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    feeds: list[Feed] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.database}.{self.name}"


def load(paths: list[Path]) -> list[Table]:
    """All tables that the pipelines in these files feed, in a stable order."""
    documents = [doc for path in paths for doc in yaml.safe_load_all(path.read_text()) if doc]
    objects = [o for doc in documents for o in (doc["items"] if doc.get("kind") == "List" else [doc])]
    own = [o for o in objects if str(o.get("apiVersion", "")).startswith(API_GROUP)]
    platforms = {_id(o): o["spec"] for o in own if o["kind"] == "DataPlatform"}
    standalone = {_id(o): o["spec"] for o in own if o["kind"] == "StarRocksTable"}
    tables: dict[tuple[str, str], Table] = {}
    for pipeline in (o for o in own if o["kind"] == "TenantPipeline"):
        _read_pipeline(pipeline, platforms, standalone, tables)
    return [tables[key] for key in sorted(tables)]


def _id(obj: dict) -> tuple[str, str]:
    return obj["metadata"].get("namespace", "default"), obj["metadata"]["name"]


def _read_pipeline(pipeline: dict, platforms: dict, standalone: dict, tables: dict) -> None:
    namespace, name = _id(pipeline)
    spec = pipeline["spec"]
    source = spec["source"]["mongodb"]
    prefix = source.get("topicPrefix", spec["tenant"])
    for dataset in spec.get("datasets", []):
        collection = dataset.get("collection", dataset["name"])
        for entry in (dataset.get("hot") or {}).get("tables", []):
            database, table_name, shape = _physical(entry, namespace, spec, platforms, standalone)
            columns = _columns(shape, entry.get("columns", []))
            _refuse_unmodelled(shape, f"{name}/{dataset['name']}/{entry['name']}")
            # The table's own condition and the pipeline's: both must hold.
            own = shape.get("where")
            conditions = [w for w in (own, None if "template" in entry else entry.get("where")) if w is not None]
            table = tables.setdefault(
                (database, table_name),
                Table(database, table_name, tuple(shape["primaryKey"]), columns),
            )
            table.feeds.append(
                Feed(
                    pipeline=f"{namespace}/{name}",
                    tenant=spec["tenant"],
                    dataset=dataset["name"],
                    topic=f"{prefix}.{source['database']}.{collection}",
                    database=source["database"],
                    collection=collection,
                    columns=columns,
                    explode=(shape.get("rows") or {}).get("explode"),
                    where=cel.parse(" && ".join(f"({c})" for c in conditions)) if conditions else None,
                    on_reject=shape.get("onReject", "KeepOld"),
                )
            )


def _physical(entry: dict, namespace: str, spec: dict, platforms: dict, standalone: dict) -> tuple[str, str, dict]:
    """Database, table and shape (the template or the referenced object's spec) of one `hot.tables[]` entry."""
    if "template" in entry:
        shape = entry["template"]
        return (
            shape.get("database", _hot_database(namespace, spec, platforms)),
            shape.get("table", _identifier(entry["name"])),
            shape,
        )
    ref = entry["tableRef"]
    key = (ref.get("namespace", namespace), ref["name"])
    if key not in standalone:
        raise Unsupported(f"StarRocksTable {key[0]}/{key[1]} is not among the given files")
    shape = standalone[key]
    return shape["database"], shape.get("table", _identifier(ref["name"])), shape


def _hot_database(namespace: str, spec: dict, platforms: dict) -> str:
    ref = spec["platformRef"]
    platform = platforms.get((ref.get("namespace", namespace), ref["name"]), {})
    pattern = (platform.get("tenancy") or {}).get("hotDatabase", "tenant_{tenant}")
    return pattern.replace("{tenant}", spec["tenant"].replace("-", "_"))


def _identifier(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _columns(shape: dict, overrides: list[dict]) -> tuple[Column, ...]:
    """The base shape, with a pipeline's overrides of how a value is obtained (never of name or type)."""
    by_name = {o["name"]: o for o in overrides}
    unknown = by_name.keys() - {c["name"] for c in shape["columns"]}
    if unknown:
        raise Unsupported(f"override of undeclared columns: {sorted(unknown)}")
    declared = tuple(_column(c, by_name.get(c["name"], {}), c["name"] in shape["primaryKey"]) for c in shape["columns"])
    implicit = DOC.name in shape["primaryKey"] and all(c.name != DOC.name for c in declared)
    return (DOC, *declared) if implicit else declared


def _column(base: dict, override: dict, key: bool) -> Column:
    how = override if override.keys() & {"from", "value", "expr"} else base
    return Column(
        name=base["name"],
        type=base["type"],
        source=None if how.keys() & {"value", "expr"} else how.get("from", base["name"]),
        value=how.get("value"),
        bson=base.get("bson"),
        default=override.get("default", base.get("default")),
        # A key cannot be NULL.
        on_error="Reject" if key else override.get("onError", base.get("onError", "Overflow")),
        expr=cel.parse(how["expr"]) if "expr" in how else None,
        key=key,
    )


def _refuse_unmodelled(shape: dict, where: str) -> None:
    """Soft deletes need nothing here: readers, and so the oracle, see a view without the rows of what is gone."""
    rows = shape.get("rows") or {}
    if rows.get("as", "Rows") != "Rows":
        raise Unsupported(f"{where}: rows.as: {rows['as']}")
