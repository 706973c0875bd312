#!/usr/bin/env python3
"""Says what every StarRocks table must hold, from MongoDB's present state and the YAML alone, and compares.

It shares no code with the relay. Exit code 0 only when nothing is missing, extra or differing.

    oracle.py --mongodb URI --starrocks HOST:PORT --user USER --password-env NAME [--within SECONDS] FILE.yaml…
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import canonical
import convert
import manifests
import mapping
import pymongo
import pymysql
from bson.codec_options import CodecOptions, DatetimeConversion

SAMPLES = 10
QUERY_TIMEOUT_S = 60


@dataclass
class Verdict:
    table: str
    rows: int = 0
    parked: int = 0
    with_extra: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        return not (self.missing or self.extra or self.differing)

    def counts(self) -> dict:
        return {
            "table": self.table,
            "rows": self.rows,
            "withExtra": self.with_extra,
            "parked": self.parked,
            "missing": len(self.missing),
            "extra": len(self.extra),
            "differing": len(self.differing),
        }


def main() -> int:
    args = _arguments()
    tables = manifests.load(args.files)
    if not tables:
        print("oracle: these files feed no table", file=sys.stderr)
        return 2
    mongodb = pymongo.MongoClient(args.mongodb, serverSelectionTimeoutMS=10_000)
    started = time.monotonic()
    while True:
        verdicts = [_judge(table, mongodb, args) for table in tables]
        waited = time.monotonic() - started
        if all(v.clean() for v in verdicts) or waited >= args.within:
            break
        time.sleep(min(1.0, args.within - waited))
    _report(verdicts, waited, args.json)
    return 0 if all(v.clean() for v in verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    parser.add_argument("--starrocks", required=True, help="host:port of the MySQL protocol")
    parser.add_argument("--user", default="root")
    parser.add_argument("--password-env", help="environment variable that holds the password")
    parser.add_argument("--within", type=float, default=0.0, help="keep comparing for this long until all is equal")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("files", nargs="+", type=Path, help="YAML with pipelines, tables and the platform")
    return parser.parse_args()


def _judge(table: manifests.Table, mongodb: pymongo.MongoClient, args: argparse.Namespace) -> Verdict:
    verdict = Verdict(table.label)
    compare(_expected(table, mongodb, verdict), _actual(table, args, verdict), verdict)
    return verdict


def compare(expected: dict[tuple, dict], actual: dict[tuple, dict], verdict: Verdict) -> None:
    """Fills in what is missing, extra and differing, by primary key."""
    for key in expected.keys() - actual.keys():
        verdict.missing.append(f"{key}")
    for key in actual.keys() - expected.keys():
        verdict.extra.append(f"{key}")
    for key in expected.keys() & actual.keys():
        difference = _difference(expected[key], actual[key])
        if difference:
            verdict.differing.append(f"{key}: {difference}")


def _expected(table: manifests.Table, mongodb: pymongo.MongoClient, verdict: Verdict) -> dict[tuple, dict]:
    # Dates as plain milliseconds: BSON reaches further than Python's calendar.
    options = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
    rows: dict[tuple, dict] = {}
    for feed in table.feeds:
        for document in mongodb[feed.database].get_collection(feed.collection, options).find({}):
            # Two elements of a document with one key: the later one has it.
            made = {tuple(row[name] for name in table.primary_key): row for row in rows_of(document, feed, verdict)}
            if double := made.keys() & rows.keys():
                raise SystemExit(f"oracle: two documents claim the row {double} of {table.label}: the key is not injective")
            rows.update(made)
    verdict.rows = len(rows)
    verdict.with_extra = sum(row["_extra"] is not None for row in rows.values())
    return rows


def rows_of(document: dict, feed: manifests.Feed, verdict: Verdict) -> list[dict]:
    """The rows of one document; none of one that is parked."""
    try:
        return mapping.rows(document, feed)
    except mapping.Parked as parked:
        if feed.on_reject == "KeepOld" and not isinstance(parked, mapping.Unidentified):
            # The table shows what the document was before, which its present state does not tell.
            raise manifests.Unsupported(f"{feed.pipeline}/{feed.dataset}: {parked}, with onReject: KeepOld") from None
        verdict.parked += 1
        return []


def _actual(table: manifests.Table, args: argparse.Namespace, verdict: Verdict) -> dict[tuple, dict]:
    types = {c.name: c.type for c in table.columns} | {"_extra": "JSON", "_ver": "BIGINT"}
    names = list(types)
    columns = ", ".join(f"`{n}`" for n in names)
    rows: dict[tuple, dict] = {}
    for record in _select(f"SELECT {columns} FROM `{table.database}`.`{table.name}`", args):
        row = {n: convert.from_sql(text, types[n]) for n, text in zip(names, record, strict=True)}
        key = tuple(row[name] for name in table.primary_key)
        if key in rows:
            verdict.differing.append(f"{key}: the table holds this primary key twice")
        rows[key] = row
    return rows


def _select(sql: str, args: argparse.Namespace) -> list[tuple[str | None, ...]]:
    """Rows as the text the server sends: the driver's own conversions would hide what is compared."""
    host, _, port = args.starrocks.rpartition(":")
    password = os.environ.get(args.password_env, "") if args.password_env else ""
    connection = pymysql.connect(
        host=host, port=int(port), user=args.user, password=password, conv={}, charset="utf8mb4",
        connect_timeout=10, read_timeout=QUERY_TIMEOUT_S, cursorclass=pymysql.cursors.SSCursor,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return [tuple(v.decode() if isinstance(v, bytes) else v for v in record) for record in cursor]


def _difference(expected: dict, actual: dict) -> str | None:
    version = actual["_ver"]
    if version is None or version <= 0:
        return f"_ver is {version}"
    for name, want in expected.items():
        got = actual[name]
        if isinstance(want, mapping.Anything):
            if not want.accepts(got):
                return f"{name}: {got!r} is no {want.source}"
        elif want != got:
            return f"{name}: expected {_show(want)}, found {_show(got)}"
    return None


def _show(value: object) -> str:
    return canonical.show(value) if isinstance(value, tuple) else repr(value)


def _report(verdicts: list[Verdict], waited: float, as_json: bool) -> None:
    totals = {k: sum(v.counts()[k] for v in verdicts) for k in ("rows", "missing", "extra", "differing")}
    if as_json:
        print(json.dumps({"waitedSeconds": round(waited, 1), **totals, "tables": [v.counts() for v in verdicts]}))
    else:
        for verdict in verdicts:
            counts = verdict.counts()
            print(
                f"{verdict.table:<32} {counts['rows']:>7} rows ({counts['withExtra']} with _extra)   "
                f"{counts['missing']} missing, {counts['extra']} extra, {counts['differing']} differing"
            )
        print(f"oracle: {totals['missing']} missing, {totals['extra']} extra, {totals['differing']} differing "
              f"of {totals['rows']} rows in {len(verdicts)} tables; waited {waited:.1f} s")
    for verdict in verdicts:
        for kind in ("missing", "extra", "differing"):
            for sample in getattr(verdict, kind)[:SAMPLES]:
                print(f"  {kind} in {verdict.table}: {sample}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
