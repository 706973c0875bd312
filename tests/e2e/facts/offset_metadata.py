#!/usr/bin/env python3
"""How much metadata an offset commit may carry, and what a commit costs."""

from __future__ import annotations

import argparse
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 6
WARM_UP, SAMPLES = 100, 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, help="host:port")
    kafka = parser.parse_args().kafka
    topic = f"facts-offset-metadata-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(timeout=30)
    try:
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False})
        for text in ("x" * 4095, "x" * 4096, "x" * 4097, "é" * 4095):
            print(f"{len(text)} characters, {len(text.encode())} bytes: {_try(consumer, topic, text)}")
        for partitions in (1, PARTITIONS):
            for size in (0, 1000, 4095):
                p50, p99 = _cost(consumer, topic, partitions, "x" * size)
                print(f"{partitions} partitions, {size} characters each: p50 {p50:.2f} ms, p99 {p99:.2f} ms, N {SAMPLES}")
        consumer.close()
    finally:
        admin.delete_topics([topic])[topic].result(timeout=30)


def _try(consumer: Consumer, topic: str, metadata: str) -> str:
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, 1, metadata)], asynchronous=False)
    except KafkaException as error:
        return error.args[0].name()
    return "taken"


def _cost(consumer: Consumer, topic: str, partitions: int, metadata: str) -> tuple[float, float]:
    samples = []
    for number in range(WARM_UP + SAMPLES):
        offsets = [TopicPartition(topic, p, number, metadata) for p in range(partitions)]
        begun = time.perf_counter()
        consumer.commit(offsets=offsets, asynchronous=False)
        samples.append((time.perf_counter() - begun) * 1000)
    samples = sorted(samples[WARM_UP:])
    return samples[SAMPLES // 2], samples[SAMPLES * 99 // 100]


if __name__ == "__main__":
    main()
