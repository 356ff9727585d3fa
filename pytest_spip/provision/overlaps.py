"""Files that two wheels install at one place: which one counts is decided by the order of installation, and that is pip's."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytest_spip.errors import BadWheel
from pytest_spip.model import Interpreter, StoredWheel
from pytest_spip.provision.demands import metadata_of
from pytest_spip.provision.needs import applying_requirements, parsed_requirements

__all__ = ["Installation", "installation"]

Node = tuple[str, frozenset[str]]
"""A project with the extras that are asked of it; pip has a node for each set of extras."""
Graph = dict[Node, set[Node]]
ROOT: Node = ("", frozenset())
PLAIN: frozenset[str] = frozenset()
STEPS = 20_000
"""Steps into circles of requirements, whose paths can be too many to be all tried."""


@dataclasses.dataclass(frozen=True, slots=True)
class Installation:
    """Wheels in the order that pip installs them in, and whether one ``replaces`` files of another; ``warnings`` name these."""

    wheels: tuple[StoredWheel, ...]
    replaces: bool = False
    warnings: tuple[str, ...] = ()


def installation(
    wheels: Sequence[StoredWheel],
    asked: Sequence[str],
    interpreter: Interpreter,
    below: Sequence[StoredWheel] = (),
) -> Installation:
    """Return how wheels are installed that requirements ``asked`` for, after those ``below``.

    The order matters only where files differ: otherwise it stays as it is. Raises ``BadWheel`` where one wheel has a file in the
    place of another's directory: pip and uv stop there.
    """
    if not any(_shared((*below, *wheels), interpreter.library)):
        return Installation(tuple(wheels))
    weights = _weights(_graph(wheels, asked, dict(interpreter.markers)))
    ordered = sorted(wheels, key=lambda wheel: (weights.get((wheel.name, PLAIN), 0), wheel.name), reverse=True)
    shared: dict[tuple[StoredWheel, StoredWheel], list[str]] = {}
    for path, first, last in _shared((*below, *ordered), interpreter.library):
        shared.setdefault((first, last), []).append(path)
    return Installation(tuple(ordered), True, tuple(_sentence(*pair, paths) for pair, paths in shared.items()))


def _sentence(first: StoredWheel, last: StoredWheel, paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        f"{last.name} {last.version} replaces files of {first.name} {first.version} ({paths[0]}{more}), "
        "for pip installs it later; other installers may do otherwise"
    )


def _shared(wheels: Sequence[StoredWheel], library: str) -> Iterator[tuple[str, StoredWheel, StoredWheel]]:
    """Yield each path at which a wheel has another file than one before it, with both."""
    known: dict[str, tuple[StoredWheel, str]] = {}
    directories: dict[str, StoredWheel] = {}
    for wheel in wheels:
        files, parents = _files(wheel.root, library)
        for path, digest in files.items():
            if path in known and known[path][1] != digest:
                yield path, known[path][0], wheel
            if path in directories:
                raise _clash(wheel, path, directories[path])
            known[path] = wheel, digest
        for path in parents:
            if path in known:
                raise _clash(known[path][0], path, wheel)
        directories |= dict.fromkeys(parents, wheel)


def _clash(one: StoredWheel, path: str, other: StoredWheel) -> BadWheel:
    return BadWheel(f"{one.name} {one.version} has the file {path} where {other.name} {other.version} has a directory")


@functools.lru_cache(maxsize=64)  # a filed wheel never changes; some have thousands of files
def _files(root: str, library: str) -> tuple[Mapping[str, str], Collection[str]]:
    """Return a wheel's files below site-packages of a library directory, path to hash, and the directories that they need."""
    own = f"../../../lib/{library}/site-packages/"
    files: dict[str, str] = {}
    for record in Path(root).glob("*lib/*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as stream:
            files |= {row[0].removeprefix(own): row[1] for row in csv.reader(stream) if row}
    parents: set[str] = set()
    for path in files:
        while (path := path.rpartition("/")[0]) and path not in parents:
            parents.add(path)
    return files, parents


def _graph(wheels: Sequence[StoredWheel], asked: Sequence[str], markers: Mapping[str, str]) -> Graph:
    """Return which project, with which extras, requires which."""
    known = {wheel.name: wheel for wheel in wheels}
    graph: Graph = {ROOT: _nodes(parsed_requirements(asked), known)}
    waiting = list(graph[ROOT])
    while waiting:
        node = waiting.pop()
        if node not in graph:
            name, extras = node
            required = applying_requirements(metadata_of(known[name]), extras, markers)
            graph[node] = _nodes(required, known) | ({(name, PLAIN)} if extras else set())
            waiting += graph[node]
    return graph


def _nodes(requirements: Iterable[Requirement], known: Collection[str]) -> set[Node]:
    return {
        (name, frozenset(map(canonicalize_name, one.extras)))
        for one in requirements
        if (name := canonicalize_name(one.name)) in known
    }


def _weights(graph: Graph) -> dict[Node, int]:
    """Return pip's weights (``get_topological_weights``): what is heavier is installed earlier.

    Round by round, those that require nothing that is left are taken out. What is left then requires itself in circles, and
    weighs the more the longer the longest path to it.
    """
    left = {node: set(required) for node, required in graph.items()}
    weights: dict[Node, int] = {}
    while leaves := {node for node, required in left.items() if not required and node != ROOT}:
        weights |= dict.fromkeys(leaves, len(left) - 1)
        left = {node: required - leaves for node, required in left.items() if node not in leaves}
    _weigh_circles(left, weights)
    return weights


def _weigh_circles(graph: Graph, weights: dict[Node, int]) -> None:
    """Give each node of circles the length of the longest path from the root that has no node twice."""
    path: dict[Node, None] = {}
    steps = 0

    def visit(node: Node) -> None:
        nonlocal steps
        steps += 1
        if node in path or steps > STEPS:
            return
        path[node] = None
        for required in sorted(graph[node], key=lambda one: (one[0], sorted(one[1]))):
            visit(required)
        del path[node]
        weights[node] = max(weights.get(node, 0), len(path))

    visit(ROOT)
