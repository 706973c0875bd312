#!/usr/bin/env python3
"""Applies single writes read from stdin, one JSON object per line; values are Extended JSON.

    {"insert": "shop_acme.orders", "document": {"_id": {"$oid": "…"}, …}}
    {"update": "shop_acme.orders", "id": …, "change": {"$set": {…}}}
    {"delete": "shop_acme.orders", "id": …}
"""

from __future__ import annotations

import argparse
import sys

import pymongo
from bson import json_util


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    client = pymongo.MongoClient(parser.parse_args().mongodb, serverSelectionTimeoutMS=10_000)
    for line in sys.stdin:
        match json_util.loads(line):
            case {"insert": str(target), "document": dict(document)}:
                _collection(client, target).insert_one(document)
            case {"update": str(target), "id": identity, "change": dict(change)}:
                if _collection(client, target).update_one({"_id": identity}, change).matched_count != 1:
                    raise SystemExit(f"no document {identity!r} in {target}")
            case {"delete": str(target), "id": identity}:
                if _collection(client, target).delete_one({"_id": identity}).deleted_count != 1:
                    raise SystemExit(f"no document {identity!r} in {target}")
            case other:
                raise SystemExit(f"not a write: {other!r}")
    return 0


def _collection(client: pymongo.MongoClient, target: str):
    database, _, collection = target.partition(".")
    return client[database][collection]


if __name__ == "__main__":
    sys.exit(main())
