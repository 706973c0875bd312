#!/usr/bin/env python3
"""A working day of the data set, seeded: features are edited, deprecated, deleted and written again, releases come and go.

    live.py --mongodb URI --package DIR --operations 2000 --rate 200 --seed 7

Prints progress lines like `workload/workload.py`.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from pathlib import Path

import dataset
import pymongo


class Live:
    """Draws operations and applies them; keeps the original documents to write deleted ones again."""

    def __init__(self, client: pymongo.MongoClient, data: dict, seed: int) -> None:
        self.rng = random.Random(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.targets = []
        for database in (dataset.ACME, dataset.GLOBEX):
            for name, read in (("features", dataset.features), ("releases", dataset.releases)):
                documents = {document["_id"]: document for document in read(data, database)}
                self.targets.append((client[database][name], documents, sorted(documents), []))

    def step(self) -> None:
        collection, originals, alive, gone = self.rng.choice(self.targets)
        kind = self.rng.choices(["insert", "update", "replace", "delete"], weights=[20, 50, 10, 20])[0]
        if kind == "insert" and not gone:
            kind = "update"
        if kind == "insert":
            identity = gone.pop(self.rng.randrange(len(gone)))
            collection.insert_one(originals[identity])
            alive.append(identity)
        elif kind == "delete":
            index = self.rng.randrange(len(alive))
            alive[index], alive[-1] = alive[-1], alive[index]
            identity = alive.pop()
            collection.delete_one({"_id": identity})
            gone.append(identity)
        else:
            identity = self.rng.choice(alive)
            if kind == "replace":
                collection.replace_one({"_id": identity}, originals[identity])
            else:
                collection.update_one({"_id": identity}, self._edit(collection.name))
        self.done[kind] += 1

    def _edit(self, name: str) -> dict:
        version = str(self.rng.randrange(1, 200))
        if name == "releases":
            return self.rng.choice([
                {"$set": {"status": self.rng.choice(["current", "retired", "esr", "beta"])}},
                {"$unset": {"releasedAt": ""}},
                {"$set": {"engineVersion": version}},
                {"$set": {"version": self.rng.randrange(200)}},  # a number where strings were
            ])
        return self.rng.choice([
            {"$set": {"status.experimental": self.rng.random() < 0.5, "status.deprecated": self.rng.random() < 0.1}},
            {"$set": {"support.chrome": {"version_added": self.rng.choice([version, False, None])}}},
            {"$set": {"spec_url": [f"https://example.com/{version}", "https://example.com/b"]}},
            {"$unset": {"description": ""}},
            {"$push": {"tags": f"group:{version}"}},
            {"$set": {"description": "ü" * self.rng.randrange(1, 40), "review": {"stars": self.rng.randrange(6)}}},
        ])


def main() -> int:
    args = _arguments()
    client = pymongo.MongoClient(args.mongodb, serverSelectionTimeoutMS=10_000, retryWrites=True)
    live = Live(client, dataset.read(args.package), args.seed)
    started = time.monotonic()
    for number in range(1, args.operations + 1):
        live.step()
        if args.rate:
            time.sleep(max(0.0, started + number / args.rate - time.monotonic()))
        if number % args.progress == 0 or number == args.operations:
            totals = {kind: live.done[kind] for kind in ("insert", "update", "replace", "delete")}
            seconds = round(time.monotonic() - started, 2)
            line = {"operations": number, **totals, "seconds": seconds, "final": number == args.operations}
            print(json.dumps(line), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    parser.add_argument("--package", required=True, type=Path)
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=200, help="operations per second; 0: as fast as the server answers")
    parser.add_argument("--progress", type=int, default=250, help="operations between progress lines")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
