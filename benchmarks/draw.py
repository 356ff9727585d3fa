"""Draws releases at random, old ones included, for ``benchmarks.truth``: ``python -m benchmarks.draw NAMES --seed 11 > drawn.txt``.

NAMES is a file with one project a line. Drawn are projects, and of each some of its releases; those with a large file are passed
over, for one build of theirs would take longer than all the rest. The output is for ``benchmarks.truth --packages @drawn.txt``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from benchmarks.corpus import PACKAGES
from benchmarks.matrix import PYPI
from benchmarks.tables import say

__all__ = ["main"]

SIMPLE_API = "application/vnd.pypi.simple.v1+json"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the drawn releases, one requirement a line."""
    parser = argparse.ArgumentParser(description="Draw releases at random.")
    parser.add_argument("names", type=Path, help="a file with one project a line")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--projects", type=int, default=150)
    parser.add_argument("--releases", type=int, default=4, help="of each project, at most")
    parser.add_argument("--builds", type=float, default=0.1, help="the share of releases that offer no wheel (0.1)")
    parser.add_argument("--largest", type=int, default=3 << 20, metavar="BYTES", help="of any file of a release")
    parser.add_argument(
        "--without", nargs="+", default=(), metavar="NAME", help="projects that need gigabytes of others"
    )
    parser.add_argument("--index-url", default=PYPI, metavar="URL")
    arguments = parser.parse_args(argv)
    used = {one.partition("<")[0].partition(">")[0] for one in PACKAGES}
    names = [name for name in arguments.names.read_text("utf-8").split() if name not in used]
    print(f"# drawn by: python -m benchmarks.draw NAMES --seed {arguments.seed}, out of {len(names)} projects")
    drawn = 0
    draw = random.Random(arguments.seed)
    draw.shuffle(names)
    for name in (name for name in names if name not in arguments.without):
        built, wheels = small_releases(name, arguments.index_url, arguments.largest)
        count = sum(draw.random() < arguments.builds for _ in range(arguments.releases))
        chosen = sorted([*some(draw, built, count), *some(draw, wheels, arguments.releases - count)])
        for version in chosen:
            print(f"{name}=={version}")
        drawn += bool(chosen)
        if drawn == arguments.projects:
            return 0
    say(f"only {drawn} projects could be drawn")
    return 1


def some(draw: random.Random, releases: set[Version], count: int) -> list[Version]:
    """Return so many releases, or all of fewer."""
    return draw.sample(sorted(releases), min(count, len(releases)))


def small_releases(name: str, index_url: str, largest: int) -> tuple[set[Version], set[Version]]:
    """Return a project's final releases whose files are small: those that offer no wheel, and all others."""
    request = urllib.request.Request(f"{index_url.rstrip('/')}/{name}/", headers={"Accept": SIMPLE_API})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            files = json.load(answer)["files"]
    except (urllib.error.URLError, ValueError) as problem:
        say(f"{name}: {problem}")
        return set(), set()
    files = [(version, file) for file in files if not file.get("yanked") for version in versions(file)]
    large = {version for version, file in files if (file.get("size") or 0) > largest}
    wheels = {version for version, file in files if file["filename"].endswith(".whl")}
    small = {version for version, _ in files if not version.is_prerelease} - large
    return small - wheels, small & wheels


def versions(file: dict[str, str]) -> Iterator[Version]:
    """Yield the version that a file's name tells, if it tells one."""
    parse = parse_wheel_filename if file["filename"].endswith(".whl") else parse_sdist_filename
    try:
        yield parse(file["filename"])[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return


if __name__ == "__main__":
    sys.exit(main())
