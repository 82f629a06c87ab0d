#!/usr/bin/env python3
"""Time our one-pass hashing of a cached snapshot against libtorrent's hybrid `set_piece_hashes` plus a SHA-256 pass.

    scripts/bench_hash.py [--size 4GB] [--shards 4] [--rounds 3] [--before CHECKOUT] [--folder DIR] [--json]

It also shows the limit of 2 cores: 2 processes that hash memory at once, with SHA-1 and 2 SHA-256 (of the whole, and of
each 16 KiB) of each byte, without reading; and the same when each reads what it hashes, once, from the page cache.

Both make the same torrent: the run fails if the infohashes or the SHA-256 of a shard differ. Each round times both, in
separate processes, so that drift of the machine affects both and memory is counted separately. The ratio is of median
times; that of minimum times is beside it. `--before` also times an earlier checkout's hashing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libtorrent as lt

from p2pqwen.library.hashing import hash_files
from p2pqwen.torrent.info import build_info
from p2pqwen.torrent.layout import Layout
from p2pqwen.values.byte_size import format_rate, format_size, parse_size
from p2pqwen.values.digest import CommitId
from p2pqwen.values.repo_path import RepoPath

COMMIT = CommitId.parse("0123456789abcdef0123456789abcdef01234567")
TARGET_RATIO = 1.8
TARGET_MEMORY = 100_000_000
_RANDOM_BYTES = 64 * 1024 * 1024
_LIMIT_CORES, _LIMIT_BYTES, _LEAF, _READ = 2, 1 << 30, 16 * 1024, 256 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=parse_size("4GB"), help="bytes of all shards (4GB)")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the snapshot (a temporary folder)")
    parser.add_argument("--before", type=Path, help="an earlier checkout, whose hashing is timed too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--one", choices=[*sorted(MEASURED), "limit", "read"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one in {"limit", "read"}:
        print(json.dumps({"seconds": hash_memory() if options.one == "limit" else hash_read(options.folder)}))
        return 0
    if options.one:
        print(json.dumps(measure_here(options.one, options.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-hash-", dir=options.folder) as folder:
        snapshot = make_snapshot(Path(folder), options.size, options.shards)
        if options.before is not None:
            MEASURED["before"] = ours
        rounds, limits, readers = [], [], []
        for _ in range(options.rounds):
            limits.append(limit("limit", snapshot))
            readers.append(limit("read", snapshot))
            rounds.append({one: measure(one, snapshot, options.before) for one in MEASURED})
    result = summary(rounds, max(limits), max(readers), options)
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    return 0


def make_snapshot(folder: Path, size: int, shards: int) -> Path:
    """Write the shards and leave them in the page cache; the content does not matter."""
    free = shutil.disk_usage(folder).free
    if free < size * 1.05:
        raise SystemExit(f"error: {folder} has {format_size(free)} free, expected {format_size(size)}")
    if (memory := available_memory()) < size * 1.1:
        print(f"warning: {format_size(memory)} of memory for a cache of {format_size(size)}", file=sys.stderr)
    snapshot = folder / str(COMMIT)
    snapshot.mkdir()
    random = os.urandom(min(_RANDOM_BYTES, size))
    for number in range(1, shards + 1):
        left = size * number // shards - size * (number - 1) // shards
        with (snapshot / f"model-{number:05}-of-{shards:05}.safetensors").open("wb") as shard:
            shard.write(left.to_bytes(8, "little") + number.to_bytes(8, "little"))
            left -= 16
            while left > 0:
                left -= shard.write(random[: min(left, len(random))])
    os.sync()
    return snapshot


def measure(one: str, snapshot: Path, before: Path | None) -> dict[str, Any]:
    earlier = one == "before" and before is not None
    environment = {**os.environ, "PYTHONPATH": str(before)} if earlier else None
    command = [sys.executable, __file__, "--one", "ours" if earlier else one, "--folder", str(snapshot)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def limit(one: str, snapshot: Path) -> float:
    """Return how many bytes per second two cores can hash: the slower of two concurrent processes counts for both."""
    cores = min(_LIMIT_CORES, len(os.sched_getaffinity(0)))
    command = [sys.executable, __file__, "--one", one, "--folder", str(snapshot)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(cores)]
    seconds = [float(json.loads(one.communicate()[0])["seconds"]) for one in running]
    return cores * _LIMIT_BYTES / max(seconds)


def hash_memory() -> float:
    """Return the seconds for the 3 digests of `_LIMIT_BYTES` bytes in the CPU's cache."""
    data = os.urandom(_LEAF)
    start = time.perf_counter()
    for make in (hashlib.sha1, hashlib.sha256):
        digest = make()
        for _ in range(_LIMIT_BYTES // _LEAF):
            digest.update(data)
    for _ in range(_LIMIT_BYTES // _LEAF):
        hashlib.sha256(data).digest()
    return time.perf_counter() - start


def hash_read(snapshot: Path) -> float:
    """Return the seconds for the 3 digests of `_LIMIT_BYTES` bytes, read from a file in the page cache."""
    path = min(snapshot.iterdir())
    buffer = memoryview(bytearray(_READ))
    left, first, second = _LIMIT_BYTES, hashlib.sha1(), hashlib.sha256()
    start = time.perf_counter()
    while left > 0:
        with path.open("rb", buffering=0) as file:
            while left > 0 and (count := file.readinto(buffer)):
                first.update(buffer[:count])
                second.update(buffer[:count])
                for at in range(0, count, _LEAF):
                    hashlib.sha256(buffer[at : min(at + _LEAF, count)]).digest()
                left -= count
    return (time.perf_counter() - start) * _LIMIT_BYTES / (_LIMIT_BYTES - left)


def measure_here(one: str, snapshot: Path) -> dict[str, Any]:
    layout = Layout.of((RepoPath(path.name), path.stat().st_size) for path in snapshot.iterdir())
    with processes_kept():
        found = MEASURED[one](snapshot, layout)
        found["peak_rss"] = peak_memory()
    return found


@contextmanager
def processes_kept() -> Iterator[None]:
    """Keep the hashing processes until their memory is counted; earlier checkouts end theirs later, or have none."""
    try:
        from p2pqwen.library.spare_cores import SPARE
    except ImportError:
        yield
        return
    with SPARE.in_use() if hasattr(SPARE, "in_use") else nullcontext():
        yield


def ours(snapshot: Path, layout: Layout) -> dict[str, Any]:
    lfs = [file.path for file in layout.files]
    start = time.perf_counter()
    digests = hash_files(snapshot, layout, lfs=lfs)
    seconds = time.perf_counter() - start
    info = build_info(COMMIT, layout, {path: found.hashes for path, found in digests.items()})
    return {
        "seconds": seconds,
        "infohash_v2": hashlib.sha256(info).hexdigest(),
        "sha256": {path.text: str(found.sha256) for path, found in sorted(digests.items())},
    }


def libtorrent(snapshot: Path, layout: Layout) -> dict[str, Any]:
    entries = [lt.create_file_entry(f"{snapshot.name}/{file.path}", file.size) for file in layout.files]
    flags = int(lt.create_torrent.canonical_files_no_tail_padding)
    maker = lt.create_torrent(entries, layout.piece_length, flags)
    start = time.perf_counter()
    lt.set_piece_hashes(maker, str(snapshot.parent))
    pieces_done = time.perf_counter()
    sha256 = {file.path.text: sha256_of(snapshot / file.path.text) for file in layout.files}
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "set_piece_hashes": pieces_done - start,
        "sha256_pass": end - pieces_done,
        "infohash_v2": hashlib.sha256(lt.bencode(maker.generate()[b"info"])).hexdigest(),
        "sha256": sha256,
    }


MEASURED = {"ours": ours, "libtorrent": libtorrent}


def sha256_of(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def summary(
    rounds: list[dict[str, dict[str, Any]]], limit: float, read: float, options: argparse.Namespace
) -> dict[str, Any]:
    for both in rounds:
        for what in ("infohash_v2", "sha256"):
            if both["ours"][what] != both["libtorrent"][what]:
                raise SystemExit(
                    f"error: {what} differs, expected {both['libtorrent'][what]}, got {both['ours'][what]}"
                )
    medians = {one: statistics.median(both[one]["seconds"] for both in rounds) for one in MEASURED}
    best = options.size / min(both["ours"]["seconds"] for both in rounds)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "size": options.size,
        "shards": options.shards,
        "seconds": {one: [round(both[one]["seconds"], 3) for both in rounds] for one in MEASURED},
        "libtorrent_parts": {
            part: [round(both["libtorrent"][part], 3) for both in rounds]
            for part in ("set_piece_hashes", "sha256_pass")
        },
        "bytes_per_second": {one: round(options.size / seconds) for one, seconds in medians.items()},
        "two_core_limit": round(limit),
        "two_core_limit_with_reading": round(read),
        "share_of_limit": round(best / limit, 3),
        "share_of_limit_with_reading": round(best / read, 3),
        "ratio": round(medians["libtorrent"] / medians["ours"], 3),
        "ratios_of_least": {
            one: round(
                min(both[one]["seconds"] for both in rounds) / min(both["ours"]["seconds"] for both in rounds), 3
            )
            for one in MEASURED
            if one != "ours"
        },
        "peak_rss": {one: max(both[one]["peak_rss"] for both in rounds) for one in MEASURED},
    }


def lines(result: dict[str, Any]) -> list[str]:
    met = result["ratio"] >= TARGET_RATIO and result["peak_rss"]["ours"] < TARGET_MEMORY
    described = [
        f"{result['date']}, {result['machine']}",
        f"{format_size(result['size'])} in {result['shards']} shards, cached; all digests, the same torrent from both",
    ]
    for one in MEASURED:
        times = ", ".join(f"{seconds:.2f}" for seconds in result["seconds"][one])
        rate, memory = format_rate(result["bytes_per_second"][one]), format_size(result["peak_rss"][one])
        described.append(f"{one:10}  {rate:>10}  {times} s  peak memory {memory}")
    described.append(
        f"ratio {result['ratio']:.2f}, expected {TARGET_RATIO} and memory under {format_size(TARGET_MEMORY)}: "
        + ("met" if met else "NOT met")
    )
    described.append(
        f"two cores hash {format_rate(result['two_core_limit'])} at most, all three digests and nothing read: "
        f"ours is {result['share_of_limit']:.2f} of that; {format_rate(result['two_core_limit_with_reading'])} with "
        f"all read once: {result['share_of_limit_with_reading']:.2f}"
    )
    described += [
        f"least times: {ratio:.2f} times as fast as {one}" for one, ratio in result["ratios_of_least"].items()
    ]
    return described


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0] if models else model
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}"


def peak_memory() -> int:
    """Return the peak of this program and its children; getrusage would include their memory before exec."""
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    statuses = [Path(f"/proc/{process}/status").read_text() for process in ("self", *children)]
    return sum(int(status.split("VmHWM:")[1].split()[0]) * 1024 for status in statuses)


def available_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    raise SystemExit(main())
