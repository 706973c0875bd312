#!/usr/bin/env python3
"""Loads the data set into two tenants' databases, before Tributary has seen them: the snapshot's work.

    load.py --mongodb URI --package <node_modules/@mdn/browser-compat-data>

Prints one JSON object: documents per collection.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import dataset
import pymongo

BATCH = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    parser.add_argument("--package", required=True, type=Path)
    args = parser.parse_args()
    client = pymongo.MongoClient(args.mongodb, serverSelectionTimeoutMS=10_000)
    data = dataset.read(args.package)
    loaded = {}
    for database in (dataset.ACME, dataset.GLOBEX):
        for name, documents in (("features", dataset.features(data, database)), ("releases", dataset.releases(data, database))):
            loaded[f"{database}.{name}"] = _insert(client[database][name], documents)
    print(json.dumps(loaded))
    return 0


def _insert(collection, documents: Iterable[dict]) -> int:
    documents = iter(documents)
    count = 0
    while batch := list(itertools.islice(documents, BATCH)):
        collection.insert_many(batch, ordered=False)
        count += len(batch)
    return count


if __name__ == "__main__":
    sys.exit(main())
