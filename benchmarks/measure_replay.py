"""How fast the replay server is: MB/s that pymongo's raw batches get from it over loopback, the server in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

import bson
from bson import ObjectId
from pymongo import MongoClient

from benchmarks.replay_server import ReplayServer

ROUNDS = 5
# Documents of one size each, about 200 MB together.
TOTAL_BYTES = 200_000_000
PAYLOADS = (100, 4_000, 1_000_000)


def measure() -> None:
    """Prints a line for each size of document: the median of the rounds."""
    context = multiprocessing.get_context("spawn")
    for payload in PAYLOADS:
        ours, theirs = context.Pipe()
        server = context.Process(target=_serve, args=(theirs, payload), daemon=True)
        server.start()
        uri = ours.recv()
        with MongoClient[bytes](uri, directConnection=True) as client:
            rates = sorted(_rate(client) for _ in range(ROUNDS))
        ours.send(None)
        server.join()
        print(
            f"documents of {payload:>9,} bytes: {rates[ROUNDS // 2]:,.0f} MB/s (min {rates[0]:,.0f}, max {rates[-1]:,.0f})",
            flush=True,
        )


def _rate(client: MongoClient[bytes]) -> float:
    started, size = time.perf_counter(), 0
    with client["measure"]["documents"].find_raw_batches({}) as cursor:
        for batch in cursor:
            size += len(batch)
    return size / (time.perf_counter() - started) / 1e6


def _serve(pipe: Connection, payload: int) -> None:
    documents = [bson.encode({"_id": ObjectId(), "payload": "x" * payload}) for _ in range(TOTAL_BYTES // (payload + 50))]
    with ReplayServer({"measure": {"documents": documents}}) as server:
        del documents
        pipe.send(server.uri)
        pipe.recv()
