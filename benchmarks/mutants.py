"""Changes one thing in a module at a time, and sees whether its unit tests notice: ``python -m benchmarks.mutants [FILE...]``.

Each changed module is a mutant. It lives in memory: a forked process imports it in place of the file's module and runs the
module's tests until the first one fails; no file is written. A mutant that no test notices survives; it is printed with its
line, its function, and what was changed. Some survivors do the same as the original; ``EQUIVALENT`` lists them with the reason,
and they do not count. The score of a file is the share of the others that was noticed. Properties are tried with the same
examples for all mutants.

The exit status is 1 if a mutant survives, 2 if the tests fail without one.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.abc
import importlib.machinery
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import hypothesis.stateful  # before the forks, as is pytest, for it takes a second
import pytest

from benchmarks.equivalents import EQUIVALENT
from benchmarks.tables import say, table

__all__ = ["TESTS", "Mutant", "main", "mutants"]

ROOT = Path(__file__).parent.parent
DISPATCH = "tests/unit/dispatch/test_scheduling.py", "tests/unit/dispatch/test_scheduler.py"
TESTS: Mapping[str, tuple[str, ...]] = {
    "pytest_spip/dispatch/scheduler.py": DISPATCH,
    "pytest_spip/dispatch/backlog.py": ("tests/unit/dispatch/test_backlog.py", *DISPATCH),
    "pytest_spip/dispatch/pool.py": ("tests/unit/dispatch/test_pool.py", *DISPATCH),
    "pytest_spip/report/analysis.py": ("tests/unit/report/test_analysis.py",),
}
"""Modules, and the tests that are to notice what is wrong with them."""
KILLED, SURVIVED, HUNG = "killed", "survived", "hung"
ALREADY = "pytest.PytestAssertRewriteWarning"
"""Hypothesis is imported already, as the plugin that it is."""
SLACK = 4
"""Seconds of CPU time that a mutant has beyond twice what the original needs."""
PATIENCE = 30
"""Seconds that a mutant may wait for each second of CPU time that it has: others are at work, too."""
AROUND = 40
"""Characters of a long statement that are shown on both sides of what was changed."""
OPERATORS: Mapping[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
}
NAMES: Mapping[str, str] = {"min": "max", "max": "min", "any": "all", "all": "any"}
SKIPPED = ("annotation", "returns", "decorator_list", "bases", "type_params")
"""Parts of a definition that say nothing about what it does."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: where it is, and the statement before and after. ``tree`` is the changed module."""

    line: int
    scope: str
    before: str
    after: str
    tree: ast.Module

    @property
    def change(self) -> str:
        """The change without its line, by which it is known when lines move."""
        before, after = _cut(self.before, self.after)
        return f"{self.scope}: {before} -> {after}"


def _cut(before: str, after: str) -> tuple[str, str]:
    """Leave out of two long texts what is far from their difference."""
    start = max(0, len(os.path.commonprefix([before, after])) - AROUND)  # noqa: RUF071  # no paths
    end = max(0, len(os.path.commonprefix([before[::-1], after[::-1]])) - AROUND)  # noqa: RUF071
    if len(before) <= 3 * AROUND:
        return before, after
    first, last = "…" * bool(start), "…" * bool(end)
    return first + before[start : len(before) - end] + last, first + after[start : len(after) - end] + last


# -- what is changed --------------------------------------------------------------------------------------------------------


def mutants(text: str) -> Iterator[Mutant]:
    """Yield all mutants of a module's text; each shares its tree with the next, so use it before you ask for that."""
    tree = ast.parse(text)
    for scope, statement, place in _places(tree, "", tree):
        for other in _alternatives(place):
            before = _shown(statement)
            place.put(ast.fix_missing_locations(ast.copy_location(other, place.node)))
            yield Mutant(place.line, scope, before, _shown(other if statement is place.node else statement), tree)
            place.put(place.node)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a node is: in a field of its parent, at an index where that is a list."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None

    @property
    def line(self) -> int:
        """The line in the module's text; operators have none of their own."""
        return getattr(self.node, "lineno", getattr(self.parent, "lineno", 0))

    @property
    def is_condition(self) -> bool:
        """Whether it decides on a branch, or on an element."""
        return self.field in ("test", "ifs") and isinstance(self.parent, ast.If | ast.IfExp | ast.comprehension)

    def put(self, node: ast.AST) -> None:
        """Replace what is here."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def _shown(statement: ast.AST) -> str:
    """Return a statement as text, of one with a body its head."""
    return ast.unparse(statement).partition("\n")[0]


def _places(node: ast.AST, scope: str, statement: ast.AST) -> Iterator[tuple[str, ast.AST, _Place]]:
    """Yield what may be changed below a node, with the names of the definitions and the statement that it is in."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}".strip(".")
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or field in SKIPPED or _says_nothing(child):
                continue
            inner = child if isinstance(child, ast.stmt) else statement
            yield scope, inner, _Place(child, node, field, index if isinstance(value, list) else None)
            yield from _places(child, scope, inner)


def _says_nothing(node: ast.AST) -> bool:
    """Return True for docstrings, assertions, imports, and what a module or a class says about itself."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("__all__", "__slots__")
    return isinstance(node, ast.Assert | ast.Import | ast.ImportFrom)


def _alternatives(place: _Place) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    node = place.node
    yield from (other() for other in OPERATORS.get(type(node), ()))
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if not isinstance(place.parent, ast.JoinedStr):
            yield ast.Constant("" if value else "mutant")
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.AugAssign():
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
    if place.is_condition and isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield ast.UnaryOp(ast.Not(), node)


# -- one mutant, in a process of its own ------------------------------------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has a module made of a tree instead of its file."""

    def __init__(self, name: str, tree: ast.Module, path: str) -> None:
        self._name, self._tree, self._path = name, tree, path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self._path)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._path, "exec"), vars(module))


class _Child(BaseException):
    """This process is a mutant's, and leaves the loop that forked it; the number is -1 for the module as it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Examination:
    """A plugin of pytest's: forks a session that is about to collect, once for each mutant of a file.

    ``counts`` says how many mutants came to what; it is empty if the tests fail without one.
    """

    def __init__(self, file: str, most: int) -> None:
        self._file, self._most = file, most
        self._text = (ROOT / file).read_text("utf-8")
        self.counts: Counter[str] = Counter()
        self.is_child = False

    def pytest_configure(self) -> None:
        """Try properties with the same examples each time; what fails need not be made small."""
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutants", phases=phases, derandomize=True, database=None)
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Examine all mutants and end the session; in a forked process, go on with one of them."""
        try:
            self._examine()
        except _Child as child:
            self._become(child.number)
        else:
            pytest.exit("all is examined", 0)

    def _become(self, number: int) -> None:
        self.is_child = True
        name = ".".join(Path(self._file).with_suffix("").parts)
        assert name not in sys.modules, "or nobody would import the mutant"
        if number >= 0:
            found = next(one for place, one in enumerate(mutants(self._text)) if place == number)
            sys.meta_path.insert(0, _Finder(name, found.tree, str(ROOT / self._file)))  # before pytest's own

    def _examine(self) -> None:
        """Print survivors, and count what mutants come to."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        if dict(_outcomes([-1], 600, 1)) != {-1: SURVIVED}:
            return
        limit = 2 * round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) + SLACK
        found = [(one.line, one.change) for one in mutants(self._text)]
        known = EQUIVALENT.get(self._file, {})
        wanted = [number for number, (_, change) in enumerate(found) if change not in known]
        say(f"{self._file}: {len(wanted)} mutants, each at most {limit} s of CPU time")
        for number, outcome in _outcomes(wanted, limit, self._most):
            self.counts[outcome] += 1
            if outcome == SURVIVED:
                print("{}:{}: {}".format(self._file, *found[number]), flush=True)


def _outcomes(numbers: Sequence[int], seconds: int, most: int) -> Iterator[tuple[int, str]]:
    """Yield what became of mutants, by number, as it is known; each has so many seconds of CPU time, ``most`` run at a time."""
    waiting = list(reversed(numbers))
    running: dict[int, tuple[int, float]] = {}
    while waiting or running:
        while waiting and len(running) < most:
            number = waiting.pop()
            running[_fork(number, seconds)] = number, time.monotonic() + PATIENCE * seconds
        for pid, (number, until) in list(running.items()):
            if time.monotonic() > until:  # it waits for something
                os.killpg(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                yield number, HUNG if os.WIFSIGNALED(status) else KILLED if status else SURVIVED
        time.sleep(0.02)


def _fork(number: int, seconds: int) -> int:
    """Return the pid of a process for a mutant, which has so many seconds of CPU time; that process leaves by ``_Child``."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    raise _Child(number)


def _counts(file: str, most: int) -> Counter[str]:
    """Return how many mutants of a file came to what."""
    examination = _Examination(file, most)
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "--capture=no", "-W", f"ignore::{ALREADY}"]
    status = pytest.main(["-x", *quiet, *TESTS[file]], plugins=[examination])
    if examination.is_child:
        os._exit(int(status))
    return examination.counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine files; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"default: {' '.join(TESTS)}")
    parser.add_argument("-n", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at a time")
    options = parser.parse_args(arguments)
    survivors = 0
    rows: list[Sequence[str]] = [("file", "mutants", "hung", "survived", "equivalent", "score")]
    for file in options.files or TESTS:
        if file not in TESTS:
            parser.error(f"{file} has no tests listed in TESTS")
        counts = _counts(file, options.n)
        if not counts:
            say(f"{file}: its tests fail without a mutant")
            return 2
        survivors += counts[SURVIVED]
        score = 1 - counts[SURVIVED] / counts.total()
        numbers = counts.total(), counts[HUNG], counts[SURVIVED], len(EQUIVALENT.get(file, {}))
        rows.append((file, *map(str, numbers), f"{score:.1%}"))
    print("\n".join(table(rows)))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
