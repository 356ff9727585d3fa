"""Brings a large cache to a bound while a session uses it: ``python -m benchmarks.collected``.

The cache is filled with made wheels, a layer of each, and what a first session leaves; all of it was used days ago. Then the
same matrix runs again beside ``pytest-spip gc``, which is repeated until the session ends. The exit status is 1 when a verdict
is missing or another one, or when the cache stays above its bound; 2 when there was nothing to measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.copies import generated
from benchmarks.disturbed import PACKAGE, contents, counted, differences, entered
from benchmarks.tables import say
from benchmarks.wheels import NEWEST
from pytest_spip.common.cache_folders import list_entries

__all__ = ["main"]

COMBINATIONS = 200
FILES, FILE = 40, 100_000
"""Files of a made wheel, and the bytes of each."""
DAY = 86400


@dataclasses.dataclass(frozen=True)
class Collection:
    """One ``gc``: its seconds, its status, and the bytes of the cache after it."""

    seconds: float
    status: int
    size: int


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, run, run again beside the collections, print the comparison and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        asked = matrix.matrix_of(arguments)
        releases = arguments.combinations // len(arguments.python.split(","))
        with generated(asked, PACKAGE, dict(contents(releases)), directory) as made:
            cache = directory / "cache"
            many = made.changed(f"--spip-cache={cache}")
            try:
                say("an undisturbed run")
                peace = matrix.run(many, directory / "peace")
                say("made wheels")
                fill(cache, arguments.fill * 1e9)
                before = size(cache)
                say("a run beside collections")
                war, collections = disturbed(many, directory / "war", cache, arguments.bound)
            except matrix.Unmeasurable as failure:
                say(str(failure))
                return 2
            faults = list(differences(entered(directory / "peace"), entered(directory / "war"), war))
    print("\n".join([*lines(peace, war, before, collections), *faults]))
    return int(bool(faults) or collections[-1].size > arguments.bound * 1e9)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Collect the cache while a session runs.", [PACKAGE])
    parser.set_defaults(python=NEWEST)
    parser.add_argument("--combinations", type=int, default=COMBINATIONS, help=f"({COMBINATIONS})")
    parser.add_argument("--fill", type=float, default=5.0, metavar="GB", help="of made wheels (5)")
    parser.add_argument("--bound", type=float, default=1.0, metavar="GB", help="what gc is to leave (1)")
    return parser.parse_args(argv)


def fill(cache: Path, total: float) -> None:
    """Make wheels and layers that were used some days ago, as all that is there already was."""
    randomness = random.Random(0)
    block = randomness.randbytes(FILE)
    for _ in range(round(total / FILE / FILES)):
        sha256 = f"{randomness.getrandbits(256):064x}"
        wheel = cache / "wheels" / sha256[:2] / f"{sha256}-4" / "purelib"
        layer = cache / "layers" / sha256[:20] / "lib"
        wheel.mkdir(parents=True)
        layer.mkdir(parents=True)
        for number in range(FILES):
            (wheel / f"m{number}.py").write_bytes(block)
            os.link(wheel / f"m{number}.py", layer / f"m{number}.py")
    for entry in list_entries(str(cache)):
        when = time.time() - randomness.uniform(1, 60) * DAY
        os.utime(entry.path, (when, when))


def size(cache: Path) -> int:
    """Return the bytes of a cache on the disk."""
    return sum(entry.size for entry in list_entries(str(cache)))


def disturbed(
    many: matrix.Matrix, directory: Path, cache: Path, bound: float
) -> tuple[matrix.Report, list[Collection]]:
    """Run the matrix while the cache is collected again and again."""
    began = time.perf_counter()
    session = matrix.started(many, directory)
    while not any((cache / "sessions").iterdir()) and session.poll() is None:
        time.sleep(0.01)
    collections = [collected(cache, bound)]
    while session.poll() is None:
        collections.append(collected(cache, bound))
    return matrix.read(directory, time.perf_counter() - began), collections


def collected(cache: Path, bound: float) -> Collection:
    """Collect once."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest_spip.cli", "gc", "--only=cache", "--older=never", f"--size={bound}GB"]
    done = subprocess.run([*command, f"--spip-cache={cache}"], stdout=subprocess.DEVNULL, check=False)
    return Collection(time.perf_counter() - began, done.returncode, size(cache))


def lines(peace: matrix.Report, war: matrix.Report, before: int, collections: Sequence[Collection]) -> Iterator[str]:
    """Yield what was run and what came of it."""
    first, last = collections[0], collections[-1]
    yield f"{len(war.combinations)} combinations, {war.how}; {len(collections)} collections while they ran"
    yield f"cache: {before / 1e9:.2f} GB, {first.size / 1e9:.2f} after the first in {first.seconds:.1f} s (status {first.status})"
    yield f"after the last: {last.size / 1e9:.2f} GB (status {last.status})"
    for title, report in (("in peace", peace), ("beside collections", war)):
        yield f"{title}: {counted(report)}"


if __name__ == "__main__":
    sys.exit(main())
