#!/usr/bin/env python3
"""What becomes visible first at the end of an initial snapshot: the notification, the last records, or the offset?"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.request

import pymongo
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

DOCUMENTS = 3000
WATCH_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, help="host:port")
    parser.add_argument("--connect", required=True, help="URL")
    parser.add_argument("--mongodb", required=True, help="connection string, as Connect may use it")
    parser.add_argument("--offsets-topic", default="connect-offsets")
    args = parser.parse_args()
    name = f"facts{time.time_ns()}"
    client = pymongo.MongoClient(args.mongodb)
    client[name]["c"].insert_many([{"n": n} for n in range(DOCUMENTS)])
    topics = {"records": f"{name}.{name}.c", "notification": f"{name}.notifications"}
    admin = AdminClient({"bootstrap.servers": args.kafka})
    for future in admin.create_topics([NewTopic(t, 1, 1) for t in topics.values()]).values():
        future.result(timeout=30)
    try:
        seen = _watch(args.kafka, {**topics, "offset": args.offsets_topic}, name, lambda: _create(args, name))
        for moment, text in sorted(seen):
            print(f"{moment:8.3f} s  {text}")
    finally:
        _call(f"{args.connect}/connectors/{name}", "DELETE")
        client.drop_database(name)
        for future in admin.delete_topics(list(topics.values())).values():
            future.result(timeout=30)


def _create(args: argparse.Namespace, name: str) -> None:
    _call(f"{args.connect}/connectors/{name}/config", "PUT", {
        "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
        "tasks.max": "1",
        "topic.prefix": name,
        "mongodb.connection.string": args.mongodb,
        "capture.scope": "database",
        "capture.target": name,
        "collection.include.list": f"{name}.c",
        "filters.match.mode": "literal",
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": f"{name}.notifications",
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
    })


def _call(url: str, method: str, body: dict | None = None) -> None:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=90).close()


def _watch(kafka: str, topics: dict[str, str], name: str, start) -> list[tuple[float, str]]:
    """When each thing was first seen, in seconds since the connector was asked for."""
    seen: list[tuple[float, str]] = []
    complete, over = threading.Event(), threading.Event()
    begun = time.monotonic()

    def follow(what: str, topic: str) -> None:
        consumer = Consumer({
            "bootstrap.servers": kafka, "group.id": f"{name}-{what}", "auto.offset.reset": "earliest",
            "isolation.level": "read_committed", "enable.auto.commit": False,
        })
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        count = 0
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            at, value = time.monotonic() - begun, json.loads(message.value() or b"{}")
            if what == "records":
                count += 1
                if count in (1, DOCUMENTS):
                    seen.append((at, f"record {count} of {DOCUMENTS}"))
            elif what == "notification":
                seen.append((at, f"notification {value.get('payload', value).get('type')}"))
            elif name in (message.key() or b"").decode():
                state = "empty" if not value else "with initsync" if "initsync" in value else "without initsync"
                seen.append((at, f"offset {state}"))
                if state == "without initsync":
                    complete.set()
        consumer.close()

    threads = [threading.Thread(target=follow, args=pair) for pair in topics.items()]
    for thread in threads:
        thread.start()
    start()
    complete.wait(WATCH_S)
    # Whatever comes after the offset, if anything does.
    time.sleep(1)
    over.set()
    for thread in threads:
        thread.join()
    return seen


if __name__ == "__main__":
    main()
