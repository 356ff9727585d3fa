"""What the independent oracle said, kept in a file, so that it is asked about a combination once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.matrix import Planned
from benchmarks.tables import say
from tests.support.oracle import OracleTrouble, judge

__all__ = ["Judgements"]

ATTEMPTS = 3
REPORTED_EVERY = 20
TROUBLE = "error"
"""Stands for a verdict where the oracle had none. It is not kept."""

Key = tuple[str, str, str]


class Judgements:
    """The oracle's verdicts as of an instant on one index, kept below ``directory`` beside its uv caches.

    The file grows by a line with each verdict: who is interrupted goes on where they were.
    """

    def __init__(self, directory: Path, exclude_newer: str, index_url: str) -> None:
        self._caches = (directory / "uv").absolute()
        self._rooms = (directory / "rooms").absolute()
        for each in (self._caches, self._rooms):
            each.mkdir(parents=True, exist_ok=True)
        self._path = directory / "verdicts.jsonl"
        self._scope = {"exclude_newer": exclude_newer, "index_url": index_url}
        self._entering = threading.Lock()
        self._known = dict(self._kept())
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends half a line

    def of(self, combinations: Sequence[Planned], threads: int) -> Iterator[tuple[Planned, str, str]]:
        """Yield each combination with the verdict on it and, in place of one, ``error`` and the trouble."""
        unknown = sum(_key(each) not in self._known for each in combinations)
        say(f"the oracle judges {unknown} combinations, {len(combinations) - unknown} it has judged before")
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for number, judged in enumerate(pool.map(self._asked, combinations), 1):
                if unknown and number % REPORTED_EVERY == 0:
                    say(f"{number}/{len(combinations)} {judged[0].id} {judged[1]}")
                yield judged

    def _asked(self, combination: Planned) -> tuple[Planned, str, str]:
        """Return what is known, else ask, again when the network is in the way."""
        if _key(combination) in self._known:
            return combination, self._known[_key(combination)], ""
        trouble = "it has no interpreter"
        for _ in range(ATTEMPTS if combination.path else 0):
            try:
                verdict = self._judged(combination)
            except OracleTrouble as problem:
                trouble = str(problem)
            else:
                self._keep(combination, verdict)
                return combination, verdict, ""
        return combination, TROUBLE, trouble

    def _judged(self, combination: Planned) -> str:
        assert combination.path is not None, "asked about installed interpreters only"
        name, version = combination.package, combination.version
        return judge(name, version, combination.path, cache=self._caches, workdir=self._rooms, **self._scope)

    def _keep(self, combination: Planned, verdict: str) -> None:
        line = json.dumps({**self._scope, "key": _key(combination), "verdict": verdict})
        with self._entering, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            self._known[_key(combination)] = verdict

    def _kept(self) -> Iterator[tuple[Key, str]]:
        """Yield the verdicts of the file; one that was killed while it wrote left half a line."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError):
                kept = json.loads(line)
                if all(kept[name] == value for name, value in self._scope.items()):
                    package, version, interpreter = kept["key"]
                    yield (package, version, interpreter), kept["verdict"]


def _key(combination: Planned) -> Key:
    return combination.package, combination.version, combination.interpreter
