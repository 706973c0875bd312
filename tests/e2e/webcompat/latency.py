#!/usr/bin/env python3
"""Write-to-visible latency: from the moment before a write is sent to MongoDB to the first SELECT that shows it.

Writes reviews into `compat_acme.reviews` at a steady rate, a third each of inserts, updates and deletes, and polls
`tenant_acme.reviews` on one open connection until every write is visible (a delete: until the row is gone).

    latency.py --mongodb URI --starrocks HOST:PORT --user USER --count 300 --rate 20 --warm-up 30

Prints one JSON object: samples, p50, p99, max and the poll's own mean time, in milliseconds. The password is read from
the environment variable that `--password-env` names.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
import threading
import time

import pymongo
import pymysql
from bson import ObjectId

TIMEOUT = 60.0
SELECT = "SELECT review_id, stars FROM tenant_acme.reviews"


class Expected:
    """Writes that are not visible yet: per document the stars to see (None: no row) and when the write began."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[str, tuple[int | None, float]] = {}
        self.samples: list[float] = []

    def write(self, identity: str, stars: int | None) -> None:
        with self.lock:
            self.open[identity] = (stars, time.monotonic())

    def seen(self, rows: dict[str, int], at: float) -> None:
        with self.lock:
            for identity, (stars, begun) in list(self.open.items()):
                if rows.get(identity) == stars and begun < at:
                    del self.open[identity]
                    self.samples.append(at - begun)


def main() -> int:
    args = _arguments()
    expected = Expected()
    collection = pymongo.MongoClient(args.mongodb, serverSelectionTimeoutMS=10_000)["compat_acme"]["reviews"]
    writer = threading.Thread(target=_write, args=(collection, expected, args), daemon=True)
    polls = _poll(args, expected, writer)
    samples = sorted(expected.samples[args.warm_up :])
    print(
        json.dumps(
            {
                "samples": len(samples),
                "warmUp": args.warm_up,
                "rate": args.rate,
                "p50": _percentile(samples, 50),
                "p99": _percentile(samples, 99),
                "max": _percentile(samples, 100),
                "poll": round(polls * 1000, 1),
            }
        )
    )
    return 0


def _write(collection, expected: Expected, args: argparse.Namespace) -> None:
    """Insert, update and delete in turn, of documents whose previous write is long visible."""
    alive: list[ObjectId] = []
    started = time.monotonic()
    for number in range(args.count + args.warm_up):
        time.sleep(max(0.0, started + number / args.rate - time.monotonic()))
        kind = ("insert", "update", "delete")[number % 3] if len(alive) > args.rate * 2 else "insert"
        if kind == "insert":
            identity = ObjectId()
            expected.write(str(identity), number)
            now = datetime.datetime.now(datetime.timezone.utc)
            collection.insert_one({"_id": identity, "feature": "api.Window", "stars": number, "at": now})
            alive.append(identity)
        elif kind == "update":
            identity = alive.pop(0)
            expected.write(str(identity), number)
            collection.update_one({"_id": identity}, {"$set": {"stars": number}})
            alive.append(identity)
        else:
            identity = alive.pop(0)
            expected.write(str(identity), None)
            collection.delete_one({"_id": identity})


def _poll(args: argparse.Namespace, expected: Expected, writer: threading.Thread) -> float:
    """Polls until all is visible; the mean seconds of one poll."""
    host, _, port = args.starrocks.rpartition(":")
    password = os.environ.get(args.password_env, "")
    connection = pymysql.connect(host=host, port=int(port), user=args.user, password=password, autocommit=True)
    polls, spent = 0, 0.0
    writer.start()
    progress = time.monotonic()
    with connection.cursor() as cursor:
        while writer.is_alive() or expected.open:
            before, seen = time.monotonic(), len(expected.samples)
            cursor.execute(SELECT)
            rows = {identity: int(stars) for identity, stars in cursor.fetchall()}
            now = time.monotonic()
            expected.seen(rows, now)
            polls, spent = polls + 1, spent + (now - before)
            if len(expected.samples) > seen:
                progress = now
            elif now - progress > TIMEOUT:
                raise SystemExit(f"{len(expected.open)} writes are not visible after {TIMEOUT:.0f}s")
            time.sleep(0.005)
    return spent / max(polls, 1)


def _percentile(samples: list[float], percent: int) -> float | None:
    """Nearest rank, in milliseconds."""
    if not samples:
        return None
    rank = max(1, math.ceil(percent / 100 * len(samples)))
    return round(samples[rank - 1] * 1000, 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mongodb", required=True, help="connection string")
    parser.add_argument("--starrocks", required=True, help="host:port of the MySQL protocol")
    parser.add_argument("--user", default="root")
    parser.add_argument("--password-env", default="TRIBUTARY_ORACLE_PASSWORD")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=30)
    parser.add_argument("--rate", type=float, default=20, help="writes per second")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
