"""Calls our own hooks. What conftests and plugins do wrong there becomes one line, with the hook's name and the file's."""

from __future__ import annotations

import dataclasses
import inspect
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.model import Combo, Interpreter, Plan, Result, Summary, Verdict

__all__ = ["Extensions"]

RAISED = (Exception, SystemExit, pytest.fail.Exception, pytest.skip.Exception)
"""What a hook may raise by mistake. An interrupt, and ``pytest.exit``, end the session as they do anywhere."""
FIX = "correct the hook, or remove it"


class Extensions:
    """The hooks of ``hookspecs``. While a run is planned, a mistake raises ``UsageProblem``; later it is kept, and all goes on."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._faults: Counter[str] = Counter()

    @property
    def faults(self) -> list[str]:
        """What went wrong after planning, a line for each mistake."""
        return [f"{text} ({count} times)" if count > 1 else text for text, count in self._faults.items()]

    # planning

    def offered(self) -> list[str]:
        """Return the paths of interpreters that hooks offer."""
        name = "pytest_spip_interpreters"
        offers = self._planning(name, lambda hook: hook(config=self._config))
        for offer in offers:
            paths = offer if isinstance(offer, list | tuple | set | frozenset) else [None]
            if not all(isinstance(path, str | os.PathLike) for path in paths):
                self._refuse(name, f"returns {_short(offer)}, which is no list of paths")
        return [os.fspath(path) for offer in offers for path in offer]

    def choose(self, combos: list[Combo], interpreters: Sequence[Interpreter]) -> None:
        """Have hooks choose among combinations, in place."""
        offered = list(combos)
        self._planning(
            "pytest_spip_plan", lambda hook: hook(config=self._config, combos=combos, interpreters=interpreters)
        )
        if fault := next(_faults_of(combos, offered), ""):
            self._refuse("pytest_spip_plan", fault)

    def _planning(self, name: str, call: Callable[[Any], Any]) -> Any:
        try:
            return call(getattr(self._config.hook, name))
        except (SpipError, pytest.exit.Exception, pytest.UsageError):
            raise
        except RAISED as error:
            raise UsageProblem(name, self._described(name, error), FIX) from error

    def _refuse(self, name: str, what: str) -> None:
        raise UsageProblem(name, f"{', '.join(self._files(name)) or 'a plugin'} {what}", FIX)

    # later

    def verdict(self, combo: Combo, result: Result) -> None:
        """Let hooks see a verdict."""
        name = "pytest_spip_verdict"
        self._later(name, lambda hook: hook(config=self._config, combo=combo, result=result))

    def report(self, kind: str, path: str, summary: Summary, plan: Plan) -> bool:
        """Have a report written; return whether somebody says that it is. Raises ``OSError`` where that was ours to do."""
        name = "pytest_spip_report"
        before, count = _state(path), self._faults.total()
        made = self._later(
            name, lambda hook: hook(config=self._config, kind=kind, path=path, summary=summary, plan=plan), ours=OSError
        )
        if made and path and _state(path) == before:
            self._faults[f"{name}: {', '.join(self._files(name))} wrote nothing to {path}"] += 1
        return bool(made) or self._faults.total() > count

    def _later(self, name: str, call: Callable[[Any], Any], ours: type[BaseException] | tuple[()] = ()) -> Any:
        try:
            return call(getattr(self._config.hook, name))
        except pytest.exit.Exception:
            raise
        except RAISED as error:
            if isinstance(error, ours) and not self._implementation(name, error):
                raise
            self._faults[f"{name}: {self._described(name, error)}"] += 1
            return None

    # whose fault

    def _described(self, name: str, error: BaseException) -> str:
        lines = str(error).strip().splitlines()
        kind = type(error).__name__
        return (
            f"{self._place(name, error)} raised {kind}: {lines[0]}"
            if lines
            else f"{self._place(name, error)} raised {kind}"
        )

    def _place(self, name: str, error: BaseException) -> str:
        found = self._implementation(name, error)
        return f"{self._relative(found[0])}:{found[1]}" if found else ", ".join(self._files(name)) or "a plugin"

    def _implementation(self, name: str, error: BaseException) -> tuple[str, int] | None:
        """Return the file and the line of the implementation, not ours, that an exception came out of."""
        codes = {code for code, _ in self._foreign(name)}
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code in codes:
                return frame.f_code.co_filename, line
        return None

    def _files(self, name: str) -> list[str]:
        return list(dict.fromkeys(self._relative(file) for _, file in self._foreign(name)))

    def _foreign(self, name: str) -> Iterator[tuple[object, str]]:
        for implementation in getattr(self._config.hook, name).get_hookimpls():
            code = getattr(inspect.unwrap(implementation.function), "__code__", None)
            module = getattr(implementation.function, "__module__", None) or ""
            if not module.startswith("pytest_spip."):
                yield code, code.co_filename if code else implementation.plugin_name

    def _relative(self, file: str) -> str:
        path = Path(file)
        return str(path.relative_to(self._config.rootpath)) if path.is_relative_to(self._config.rootpath) else path.name


def _faults_of(combos: Sequence[object], offered: Sequence[Combo]) -> Iterator[str]:
    """Yield what is wrong with combinations that were chosen: they are to be some of those that were offered, each once."""
    if len(combos) == len(offered) and all(map(lambda one, other: one is other, combos, offered)):
        return
    same, known = set(map(id, offered)), set(map(_plain, offered))
    seen: set[str] = set()
    for one in combos:
        if not isinstance(one, Combo):
            yield f"adds {_short(one)}, which is no combination"
            continue
        if id(one) not in same and (_plain(one) not in known or not isinstance(one.plan_verdict, Verdict | None)):
            yield f"adds {one.id}, which is not in the matrix"
        if one.id in seen:
            yield f"adds {one.id} a second time"
        seen.add(one.id)


def _plain(combo: Combo) -> Combo:
    return dataclasses.replace(combo, ordinal=0, plan_verdict=None)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # it is somebody else's
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _state(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file is written; None where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
