#!/usr/bin/env python
"""Is the fetch client bounded by the server? Many small entries from a server with latency.

    python benchmarks/fetch.py --out /dev/shm/fetch_bench

The server answers after a fixed time and keeps connections open. The bound is what nobody can
beat: latency over slots, plus hashing and unpacking every file on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import multiprocessing
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np

from cryoclarity.archive.fetch import Downloader
from cryoclarity.archive.paths import map_path
from cryoclarity.archive.source import Source
from cryoclarity.stages.fetch import Wanted, run_files

SIZE = 24
DISTINCT = 10


def make_bodies(folder: Path) -> list[bytes]:
    """Return a few gzip maps of :data:`SIZE` voxels a side."""
    bodies = []
    for seed in range(DISTINCT):
        data = np.random.default_rng(seed).normal(size=(SIZE,) * 3).astype(np.float32)
        path = folder / "map.mrc"
        with mrcfile.new(path, data, overwrite=True) as file:
            file.voxel_size = 1.0
        bodies.append(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return bodies


def serve(bodies: list[bytes], latency: float, pipe) -> None:
    """Answer every request after `latency` seconds, on connections that stay open."""
    connections = 0

    async def handle(reader, writer):
        nonlocal connections
        connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(latency)
            if head.startswith(b"GET /count"):
                body = str(connections).encode()
            else:
                body = bodies[sum(head.split(b" ")[1]) % len(bodies)]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    async def main():
        server = await asyncio.start_server(guarded, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def guarded(reader, writer):
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    asyncio.run(main())


def unpacking_seconds(bodies: list[bytes], entries: int) -> float:
    """Time to hash every file as served and unpacked, and to unpack it, on one core."""
    started = time.perf_counter()
    for number in range(entries):
        body = bodies[number % len(bodies)]
        hashlib.sha256(body).digest()
        hashlib.sha256(gzip.decompress(body)).digest()
    return time.perf_counter() - started


def fetch_all(base: str, out: Path, entries: int, slots: int) -> tuple[float, float]:
    """Fetch all entries once; return wall and processor seconds."""
    source = Source(base, slots=out / "slots", per_host=slots)
    names = [f"EMD-{10000 + number}" for number in range(entries)]
    started, busy = time.perf_counter(), time.process_time()
    with Downloader(source) as downloader, ThreadPoolExecutor(slots) as pool:

        def one(name: str) -> None:
            wanted = Wanted(name, half_maps="never")
            run_files(wanted, source, out / name, downloader=downloader)

        list(pool.map(one, names))
    seconds = time.perf_counter() - started, time.process_time() - busy
    assert all((out / name / "map.map.gz").exists() for name in names)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=500)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--slots", type=int, default=4, help="requests at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files; removed")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    bodies = make_bodies(arguments.out)
    ours, theirs = multiprocessing.Pipe()
    values = (bodies, arguments.latency, theirs)
    server = multiprocessing.get_context("fork").Process(target=serve, args=values, daemon=True)
    server.start()
    base = f"http://127.0.0.1:{ours.recv()}"
    latency = arguments.entries * arguments.latency / arguments.slots
    unpacking = unpacking_seconds(bodies, arguments.entries)
    bound = latency + unpacking
    print(f"{map_path('EMD-10000')}: {len(bodies[0])} bytes; bound {latency:.2f} s of latency")
    print(f"+ {unpacking:.2f} s of hashing and unpacking = {bound:.2f} s")
    try:
        for number in range(arguments.repeats):
            wall, busy = fetch_all(
                base, arguments.out / str(number), arguments.entries, arguments.slots
            )
            print(f"wall {wall:.2f} s, processor {busy:.2f} s, wall / bound {wall / bound:.2f}")
    finally:
        server.kill()
        shutil.rmtree(arguments.out)


if __name__ == "__main__":
    main()
