"""How fast the replay server is, in a process of its own over loopback: read by pymongo, and by a bare socket.

pymongo is the client of the mover, and has its own price for each document; the socket shows what the server can do.
"""

from __future__ import annotations

import multiprocessing
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import bson
from bson import ObjectId
from bson.int64 import Int64
from pymongo import MongoClient

from benchmarks.replay_server import ReplayServer
from benchmarks.wire import HEADER, MAX_MESSAGE_BYTES, OP_MSG

ROUNDS = 5
# Documents of one size each, about 200 MB together.
TOTAL_BYTES = 200_000_000
PAYLOADS = (100, 4_000, 1_000_000)


def measure() -> None:
    """Prints a line for each size of document: medians, and the server's own CPU."""
    context = multiprocessing.get_context("spawn")
    for payload in PAYLOADS:
        ours, theirs = context.Pipe()
        server = context.Process(target=_serve, args=(theirs, payload), daemon=True)
        server.start()
        port = ours.recv()
        with MongoClient[Any]("127.0.0.1", port, directConnection=True) as client:
            driver = [_rate(partial(_read_with_driver, client)) for _ in range(ROUNDS)]
        ours.send("cpu")
        before = ours.recv()
        bare = [_rate(partial(_read_with_socket, port, "measure", "documents")) for _ in range(ROUNDS)]
        ours.send("cpu")
        cpu = (ours.recv() - before) / ROUNDS
        ours.send("")
        server.join()
        print(
            f"documents of {payload:>9,} bytes: pymongo {_shown(driver)}; bare socket {_shown(bare)};"
            f" {cpu / TOTAL_BYTES * 1e9:.2f} s of the server's CPU per GB",
            flush=True,
        )


def _shown(rates: list[float]) -> str:
    rates = sorted(rates)
    return f"{rates[ROUNDS // 2]:,.0f} MB/s ({rates[0]:,.0f} to {rates[-1]:,.0f})"


def _rate(read: Callable[[], int]) -> float:
    started = time.perf_counter()
    size = read()
    return size / (time.perf_counter() - started) / 1e6


def _read_with_driver(client: MongoClient[Any]) -> int:
    with client["measure"]["documents"].find_raw_batches({}) as cursor:
        return sum(map(len, cursor))


def read_rate(port: int, database: str, collection: str) -> float:
    """MB/s of a collection to a bare socket, the median."""
    return sorted(_rate(partial(_read_with_socket, port, database, collection)) for _ in range(ROUNDS))[ROUNDS // 2]


def _read_with_socket(port: int, database: str, collection: str) -> int:
    buffer = memoryview(bytearray(MAX_MESSAGE_BYTES))
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def ask(command: dict[str, Any]) -> int:
            body = struct.pack("<IB", 0, 0) + bson.encode({**command, "$db": database})
            connection.sendall(HEADER.pack(HEADER.size + len(body), 1, 0, OP_MSG) + body)
            got, size = 0, HEADER.size
            while got < size:
                got += connection.recv_into(buffer[got:])
                if got >= HEADER.size:
                    size = HEADER.unpack_from(buffer)[0]
            return size

        size = total = ask({"find": collection})
        while cursor := _cursor_id(buffer[:size]):
            size = ask({"getMore": Int64(cursor), "collection": collection})
            total += size
    return total


def _cursor_id(message: memoryview) -> int:
    tail = bytes(message[-100:])
    number: int = struct.unpack_from("<q", tail, tail.rindex(b"\x12id\0") + 4)[0]
    return number


def _serve(pipe: Connection, payload: int) -> None:
    documents = [bson.encode({"_id": ObjectId(), "payload": "x" * payload}) for _ in range(TOTAL_BYTES // (payload + 39))]
    with ReplayServer({"measure": {"documents": documents}}) as server:
        del documents
        pipe.send(server.port)
        while pipe.recv():
            pipe.send(time.process_time())
