#!/usr/bin/env python3
"""N random inserts, updates and deletes over three collections of each tenant's database; the same seed, the same run.

Prints one JSON line per `--progress` operations and a last one with totals, so that a test can act in mid-stream.

    workload.py --mongodb URI --databases shop_acme,shop_globex --operations 5000 --seed 1 [--rate OPS_PER_SECOND]
"""

from __future__ import annotations

import argparse
import collections
import collections.abc
import json
import random
import sys
import time

import documents
import pymongo
from pymongo.errors import ConnectionFailure, DuplicateKeyError, NotPrimaryError, WriteError

COLLECTIONS = ["customers", "orders", "products"]
INSERT, UPDATE, REPLACE, DELETE = "insert", "update", "replace", "delete"
BAD_VALUE, TYPE_MISMATCH, PATH_NOT_VIABLE = 2, 14, 28
#: How long a server may be away before the workload gives up.
PATIENCE_S = 60


class Workload:
    """Draws operations and applies them; remembers which documents are alive."""

    def __init__(self, client: pymongo.MongoClient, databases: list[str], seed: int) -> None:
        self.rng = random.Random(seed)
        self.targets = [(client[d][c], []) for d in databases for c in COLLECTIONS]
        self.done: collections.Counter[str] = collections.Counter()
        self.gone: list[tuple] = []

    def step(self) -> None:
        collection, alive = self.rng.choice(self.targets)
        kind = self.rng.choices([INSERT, UPDATE, REPLACE, DELETE], weights=[50, 28, 8, 14])[0]
        if not alive:
            kind = INSERT
        getattr(self, f"_{kind}")(collection, alive)
        self.done[kind] += 1

    def _insert(self, collection, alive: list) -> None:
        identity = documents.identity(self.rng, collection.name)
        # Now and then a deleted document comes back under its old identity.
        if self.gone and self.rng.random() < 0.1:
            index = self.rng.randrange(len(self.gone))
            if self.gone[index][0] == collection.full_name:
                identity = self.gone.pop(index)[1]
        document = {"_id": identity, **documents.document(self.rng, collection.name)}
        try:
            insist(lambda: collection.insert_one(document))
        except DuplicateKeyError:
            # An attempt whose answer was lost had taken effect.
            self.done["twice"] += 1
        alive.append(identity)

    def _update(self, collection, alive: list) -> None:
        identity = {"_id": self.rng.choice(alive)}
        change = documents.update(self.rng, collection.name)
        try:
            insist(lambda: collection.update_one(identity, change))
        except WriteError as error:
            # A nested $set below a scalar, a $push into what is no array, as a careless application does: refused.
            if error.code not in (BAD_VALUE, TYPE_MISMATCH, PATH_NOT_VIABLE):
                raise
            self.done["refused"] += 1

    def _replace(self, collection, alive: list) -> None:
        identity = {"_id": self.rng.choice(alive)}
        document = documents.document(self.rng, collection.name)
        insist(lambda: collection.replace_one(identity, document))

    def _delete(self, collection, alive: list) -> None:
        index = self.rng.randrange(len(alive))
        alive[index], alive[-1] = alive[-1], alive[index]
        identity = alive.pop()
        insist(lambda: collection.delete_one({"_id": identity}))
        self.gone.append((collection.full_name, identity))


def insist(write: collections.abc.Callable[[], object]) -> object:
    """Writes again while the server is away: the driver itself tries only twice."""
    started = time.monotonic()
    while True:
        try:
            return write()
        except (ConnectionFailure, NotPrimaryError):
            if time.monotonic() - started > PATIENCE_S:
                raise
            time.sleep(0.1)


def main() -> int:
    args = _arguments()
    client = pymongo.MongoClient(args.mongodb, serverSelectionTimeoutMS=10_000, retryWrites=True)
    workload = Workload(client, args.databases.split(","), args.seed)
    started = time.monotonic()
    for number in range(1, args.operations + 1):
        workload.step()
        if args.rate:
            time.sleep(max(0.0, started + number / args.rate - time.monotonic()))
        if number % args.progress == 0 and number < args.operations:
            _print(number, workload, started)
    _print(args.operations, workload, started, final=True)
    return 0


def _print(number: int, workload: Workload, started: float, final: bool = False) -> None:
    seconds = time.monotonic() - started
    totals = {kind: workload.done[kind] for kind in (INSERT, UPDATE, REPLACE, DELETE, "refused")}
    print(json.dumps({"operations": number, **totals, "seconds": round(seconds, 2), "final": final}), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    parser.add_argument("--databases", default="shop_acme,shop_globex")
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0, help="operations per second; 0: as fast as the server answers")
    parser.add_argument("--progress", type=int, default=250, help="operations between progress lines")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
