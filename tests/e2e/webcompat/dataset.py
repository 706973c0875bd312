"""The documents of the demo: what each browser supports of the web platform, from `@mdn/browser-compat-data` (npm, CC0-1.0).

Nested, with missing fields, and honestly mixed: `version_added` is a string or `false`, `spec_url` a string or a list,
`support.<browser>` an object or a list, `notes` a string or a list.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from bson import ObjectId

ACME, GLOBEX = "compat_acme", "compat_globex"
AREAS = {ACME: ["api", "css"], GLOBEX: ["javascript", "html", "svg", "http", "webassembly", "mathml"]}
BROWSERS = {ACME: "desktop", GLOBEX: "mobile"}


def read(package: Path) -> dict:
    with open(package / "data.json", encoding="utf-8") as file:
        return json.load(file)


def features(data: dict, database: str) -> Iterator[dict]:
    """Every object with `__compat`, at any depth, is a feature; its path is its identity."""
    for area in AREAS[database]:
        yield from _walk(data[area], area)


def _walk(node: dict, path: str) -> Iterator[dict]:
    if "__compat" in node:
        yield {"_id": path, **node["__compat"]}
    for name, child in node.items():
        if not name.startswith("__") and isinstance(child, dict):
            yield from _walk(child, f"{path}.{name}")


def releases(data: dict, database: str) -> Iterator[dict]:
    for browser, about in data["browsers"].items():
        if about["type"] != BROWSERS[database]:
            continue
        for version, release in about["releases"].items():
            yield _release(database, browser, version, release)


def _release(database: str, browser: str, version: str, release: dict) -> dict:
    """One tenant calls its engine `engine`, the other `meta.engineName`: the shared table has one column for both."""
    identity = hashlib.sha256(f"{browser} {version}".encode()).digest()[:12]
    document = {"_id": ObjectId(identity), "browser": browser, "version": version}
    if "status" in release:
        document["status"] = release["status"]
    if "release_date" in release:
        day = datetime.date.fromisoformat(release["release_date"])
        document["releasedAt"] = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.timezone.utc)
    if "engine" in release:
        document |= {"engine": release["engine"]} if database == ACME else {"meta": {"engineName": release["engine"]}}
    if "engine_version" in release:
        document["engineVersion"] = release["engine_version"]
    return document
