"""Test functions that ask for ``spip_env``: one item for each combination, and the marks that the ini file gives to items."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections import ChainMap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet

from pytest_spip.common.conditions import Condition, allowed_pythons
from pytest_spip.common.trees import replace_text
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.hooks.items import Matrix, MatrixItem
from pytest_spip.hooks.listing import only_lists
from pytest_spip.hooks.timeouts import Timeouts
from pytest_spip.model import Combo, Environment, Interpreter, Outcome, Result
from pytest_spip.report.texts import TAIL, failure_text, one_line
from pytest_spip.session.slots import MARKER, DeviceRequest, read_device_request

if TYPE_CHECKING:
    from pytest_spip.session.spip_env import SpipEnvironment

__all__ = ["FIXTURE", "ConditionalMark", "Functions", "MarkerValues", "param_id", "read_marker", "read_marks"]

ConditionalMark = tuple[Condition, pytest.MarkDecorator]
"""A mark that the ini file gives to the items of combinations for which the condition holds."""

FIXTURE = "spip_env"
RERUNS = 2
"""How often ``spip_flaky`` has an item run again."""
SHOWN = 8
"""Lines that a failed comparison has, unless pytest is very verbose."""


@dataclasses.dataclass(frozen=True, slots=True)
class MarkerValues:
    """What ``@pytest.mark.spip`` says of a test function: which combinations, and how they are run. ``timeout`` 0 is the run's."""

    versions: Condition
    python: SpecifierSet
    timeout: float
    network: bool
    need: DeviceRequest

    def wants(self, combo: Combo, interpreter: Interpreter) -> bool:
        """Return True if the function is to be tried in a combination."""
        fits = self.python.contains(interpreter.version, prereleases=True) if interpreter.version else True
        return fits and self.versions.holds(combo, interpreter)


def read_marker(keywords: Mapping[str, object]) -> MarkerValues:
    """Return what the marker's keywords say. Raises ``UsageProblem``."""
    own = {name: keywords[name] for name in ("versions", "python", "timeout", "network") if name in keywords}
    unknown = keywords.keys() - own.keys() - {"slots", "without"}
    if unknown:
        fix = "it takes versions, python, timeout, network, slots and without"
        raise UsageProblem(MARKER, f"it has no {min(unknown)}", fix)
    for name in ("versions", "python"):
        if not isinstance(own.get(name, ""), str):
            raise UsageProblem(MARKER, f"{name}={own[name]!r} is no text", f'write it like {name}=">=3"')
    timeout, network = own.get("timeout", 0), own.get("network", False)
    if "timeout" in own and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e6
    ):
        raise UsageProblem(MARKER, f"timeout={timeout!r} is no time limit", "give a positive number of seconds")
    if not isinstance(network, bool):
        raise UsageProblem(MARKER, f"invalid choice network={network!r} (choose from True, False)")
    need = read_device_request({name: keywords[name] for name in ("slots", "without") if name in keywords})
    python = allowed_pythons(MARKER, str(own.get("python", "")))
    return MarkerValues(
        Condition.parse(MARKER, str(own.get("versions", ""))), python, float(str(timeout)), network, need
    )


def param_id(combo: Combo) -> str:
    """Return a combination's id as a parameter's: ``colorama-0.4.6-py312``. Brackets within brackets would be hard to read."""
    return re.sub(r"[\[\]]+", "-", combo.id).strip("-")


class Functions:
    """Makes items of functions and combinations, and opens environments for them."""

    def __init__(
        self, config: pytest.Config, matrix: Matrix, timeouts: Timeouts, marks: Sequence[ConditionalMark]
    ) -> None:
        self._config = config
        self._timeouts = timeouts
        self._matrix = matrix
        self._current: Combo | None = None
        self._marks = marks

    # collecting

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item of a function for each combination that its marker leaves."""
        if FIXTURE not in metafunc.fixturenames:
            return
        marker = _marker_values(metafunc.definition)
        combos = [one for one in self._matrix.plan() if marker.wants(one, self._matrix.interpreter(one))]
        metafunc.parametrize(FIXTURE, combos, indirect=True, ids=[param_id(combo) for combo in combos])

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the items that lines of the ini file mean."""
        for item in items if self._marks else ():
            combo = combo_of(item)
            for condition, mark in self._marks if combo else ():
                if combo and condition.holds(combo, self._matrix.interpreter(combo)):
                    item.add_marker(mark)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell the controller which combinations the functions need: xdist sends no more than items' names."""
        needs = {item.nodeid: combo.ordinal for item, combo in self.needing(session.items)}
        if needs and self._matrix.needs:
            replace_text(Path(self._matrix.needs), json.dumps(needs))

    @staticmethod
    def needing(items: Iterable[pytest.Item]) -> Iterator[tuple[pytest.Item, Combo]]:
        """Yield the functions' items, and what each needs."""
        for item in items:
            combo = None if isinstance(item, MatrixItem) else combo_of(item)
            if combo:
                yield item, combo

    # running

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know which combination conditions of marks ask for."""
        self._current = combo_of(item)
        try:
            return (yield)
        finally:
            self._current = None

    def matches(self, text: str) -> bool:
        """Return True if a condition holds for the item at hand: ``spip`` in the conditions of ``skipif`` and ``xfail``."""
        combo = self._current
        return combo is not None and Condition.parse("spip()", text).holds(combo, self._matrix.interpreter(combo))

    @property
    def only_lists(self) -> bool:
        """Whether nothing is run: with ``--setup-only`` pytest makes fixtures all the same."""
        return only_lists(self._config)

    @contextlib.contextmanager
    def environment(self, request: pytest.FixtureRequest) -> Iterator[SpipEnvironment]:
        """Open the environment of a test. Where there is none the test is skipped, or ends in an error, with the reason."""
        from pytest_spip.session.spip_env import SpipEnvironment  # nobody else has use for it

        combo: Combo = request.param
        marker, suspended = _marker_values(request.node), functools.partial(self._timeouts.suspended, request.node)
        with contextlib.ExitStack() as stack:
            with suspended():  # it may have to be built first
                executor = self._matrix.executor(combo)
                lacking = executor.unavailable(combo, marker.need)
                if lacking:
                    _give_up(lacking)
                opened = stack.enter_context(executor.opened(combo, marker.need, network=marker.network))

            def extended(texts: Sequence[str]) -> Environment:
                with suspended():
                    return self._matrix.additions().extended(combo, opened.environment, texts)

            def compare(operator: str, left: object, right: object) -> Sequence[str]:
                return self._compared(request.node, operator, left, right)

            interpreter, timed = self._matrix.interpreter(combo), functools.partial(suspended, counts=True)
            yield SpipEnvironment(combo, interpreter, opened, extended, compare, timed, marker.timeout)

    def _compared(self, item: pytest.Item, operator: str, left: object, right: object) -> Sequence[str]:
        """Return how pytest, or a plugin of its, explains a comparison."""
        hook = item.ihook.pytest_assertrepr_compare
        lines: Sequence[str] = next(filter(None, hook(config=self._config, op=operator, left=left, right=right)), [])
        if len(lines) <= SHOWN + 2 or self._config.get_verbosity() >= 2:
            return list(lines)
        return [*lines[:SHOWN], "", f"...{len(lines) - SHOWN} lines more; '-vv' shows them"]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say with a failure which environment it was, and how to see it again."""
        report = yield
        combo = combo_of(item) if report.failed and not isinstance(item, MatrixItem) else None
        if combo:
            report.sections.append(("spip environment", self._environment_text(item, combo)))
        return report

    def _environment_text(self, item: pytest.Item, combo: Combo) -> str:
        executor = self._matrix.executor(combo)
        locked = executor.locked(combo)
        lines = [f"{combo.id} on {self._matrix.interpreter(combo).path}"]
        lines += ["with " + ", ".join(f"{name} {version}" for name, version in locked.items())] if locked else []
        return "\n".join([*lines, f"reproduce: {executor.reproduction_of_test(combo, item.nodeid)}"])


def combo_of(item: pytest.Item) -> Combo | None:
    """Return the combination that an item tries, if it does."""
    if isinstance(item, MatrixItem):
        return item.combo
    callspec = getattr(item, "callspec", None)
    combo = callspec.params.get(FIXTURE) if callspec else None
    return combo if isinstance(combo, Combo) else None


def _marker_values(node: pytest.Item) -> MarkerValues:
    """Return what the markers around a function say, the nearest one first. A bad one ends the session, as a bad option does."""
    try:
        return read_marker(ChainMap(*map(_keywords, node.iter_markers("spip"))))
    except UsageProblem as error:
        raise pytest.UsageError(f"{node.nodeid}: {error}") from error


def _keywords(mark: pytest.Mark) -> dict[str, object]:
    if mark.args:
        raise UsageProblem(MARKER, "its arguments have names", 'write it like spip(versions=">=2", timeout=5)')
    return dict(mark.kwargs)


def _give_up(result: Result) -> None:
    """End a test whose combination has no environment: skipped as the combination is, or with an error."""
    if result.verdict.outcome is Outcome.SKIPPED:
        pytest.skip(one_line(result))
    pytest.fail(failure_text(result, lines=TAIL), pytrace=False)


def read_marks(config: pytest.Config) -> Iterator[ConditionalMark]:
    """Yield the conditions of the ini file, and the mark that each gives. Raises ``UsageError``."""
    try:
        for line in config.getini("spip_xfail"):
            yield Condition.parse("spip_xfail", line), pytest.mark.xfail(reason=line)
        for line in config.getini("spip_skip"):
            yield Condition.parse("spip_skip", line), pytest.mark.skip(reason=line)
        for line in config.getini("spip_flaky"):
            yield Condition.parse("spip_flaky", line), _flaky(config)
    except SpipError as error:
        raise pytest.UsageError(str(error)) from error


def _flaky(config: pytest.Config) -> pytest.MarkDecorator:
    """Return the mark that has items run again, by the plugin that is there. Raises ``UsageProblem``."""
    if config.pluginmanager.has_plugin("rerunfailures"):
        # pytest-retry knows the mark as well, and leaves alone what did not raise one of these.
        return pytest.mark.flaky(reruns=RERUNS, only_on=[_Never])
    if config.pluginmanager.has_plugin("pytest-retry"):
        return pytest.mark.flaky(retries=RERUNS)
    raise UsageProblem("spip_flaky", "nothing runs items again", "install pytest-rerunfailures or pytest-retry")


class _Never(Exception):
    """Nobody raises it."""
