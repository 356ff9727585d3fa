"""Test functions that ask for ``spip_env``: conditions, ids, and what code a call carries."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.common.conditions import Condition
from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.functions import param_id, read_marker
from pytest_spip.model import Combo, Composed, Limits, Sandbox
from pytest_spip.run.alone import AloneSession
from pytest_spip.run.calls import Failure, Frame, Question, answer, pack, program, unpack
from pytest_spip.run.check_runners import found_program
from pytest_spip.session.slots import DeviceRequest
from pytest_spip.session.spip_env import _raise_at
from tests.support.supply import python

VERSIONS = ("0.1", "0.2", "0.3")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("demo", True),
        ("Demo<0.5", True),
        ("demo<0.4", False),
        ("other", False),
        (">=0.4", True),
        ("", True),
        ('demo ; python_version >= "3.12"', True),
        ('demo<0.5 ; python_version < "3.12"', False),
        ('; sys_platform == "linux"', True),
    ],
)
def test_condition(text: str, holds: bool) -> None:
    """A condition names a package, versions and a marker, and whatever it leaves out holds for all."""
    assert holds == Condition.parse("spip_xfail", text).holds(Combo(0, "demo", "0.4.1", "any", "py312"), python())


def test_bad_condition() -> None:
    """What is no condition is told in one line with the fix."""
    with pytest.raises(UsageProblem, match=r"spip_xfail: 'demo<' is no condition \(.*\); write it like colorama<0.3 ;"):
        Condition.parse("spip_xfail", "demo<")


def test_wish() -> None:
    """A marker says which combinations, and how."""
    wish = read_marker({"versions": ">=2", "python": ">=3.9", "timeout": 5, "network": True, "slots": {"gpu": 1}})
    assert (wish.timeout, wish.network, wish.need) == (5.0, True, DeviceRequest((("gpu", 1),)))
    assert wish.wants(Combo(0, "demo", "2.0", "any", "py312"), python("3.12.1"))
    assert not wish.wants(Combo(0, "demo", "1.0", "any", "py312"), python("3.12.1"))
    assert not wish.wants(Combo(0, "demo", "2.0", "any", "py38"), python("3.8.1"))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"version": "1"}, "it has no version; it takes versions, python, timeout, network, slots and without"),
        ({"versions": 2}, 'versions=2 is no text; write it like versions=">=3"'),
        ({"python": "new"}, "python='new' is no version specifier; write it like '>=3.9,<3.13'"),
        ({"timeout": 0}, "timeout=0 is no time limit; give a positive number of seconds"),
        ({"network": "yes"}, "invalid choice network='yes' (choose from True, False)"),
    ],
)
def test_bad_wish(told: Mapping[str, object], line: str) -> None:
    """What a marker cannot mean is told in one line that names the marker and the fix."""
    with pytest.raises(UsageProblem) as caught:
        read_marker(told)
    assert str(caught.value) == f"@pytest.mark.spip: {line}"


def test_param_id() -> None:
    """A combination's id as a parameter has no brackets."""
    assert param_id(Combo(0, "demo", "0.4.1", "any", "py312")) == "demo-0.4.1-py312"


@pytest.mark.parametrize("data", [None, 1.5, "x\udc80", b"\xff", (1, [2, {3}]), {"a": {(1, 2): frozenset("b")}}])
def test_data(data: object) -> None:
    """Plain data comes back as what it was, whatever its containers are."""
    assert (data, type(data)) == (unpack(pack(data, "it")), type(unpack(pack(data, "it"))))


def outside() -> int:
    """Use something of this module."""
    return len(VERSIONS)


def test_functions_that_cannot_be_called() -> None:
    """A function that needs what does not go with it is refused, in one line that says what it is and the fix."""
    around = 1

    def enclosed() -> int:
        return around

    async def waits() -> None: ...

    refused: list[tuple[object, str]] = [
        (outside, "outside() uses 'VERSIONS' of its module; import or define it inside, or pass it"),
        (enclosed, "enclosed() uses 'around' of the function around it; pass it as an argument"),
        (waits, "waits() returns no data; have it run to its end and return"),
        (len, "<built-in function len> is no function of its own; write it with def"),
    ]
    for function, line in refused:
        with pytest.raises(UsageProblem) as caught:
            Question.of(function, (), {})
        assert str(caught.value) == f"spip_env.call: {line}"
    with pytest.raises(
        UsageProblem, match="an argument is or holds a object object; pass text, numbers, and containers"
    ):
        pack([object()], "an argument")


def test_traceback_of_elsewhere() -> None:
    """An error is raised as if it came from the lines that are named."""
    question = Question("probe", "/somewhere/test_it.py", 10, "", None, None)
    frames = [Frame(question.file, 12, "probe", ""), Frame(question.file, 14, "inner", "")]
    with pytest.raises(KeyError) as caught:
        _raise_at(frames, question, KeyError("x"))
    seen = [(entry.frame.code.raw.co_filename, entry.lineno + 1, entry.name) for entry in caught.traceback[-2:]]
    assert seen == [("/somewhere/test_it.py", 12, "probe"), ("/somewhere/test_it.py", 14, "inner")]


def double(value: int) -> int:
    """Say, and return, something."""
    import sys

    assert value != 3, "three"
    print(sys.argv, sys.stdin.read())
    return 2 * value


def test_without_fork_servers(tmp_path: Path) -> None:
    """Programs and functions run as well where there are no fork servers."""
    place = str(tmp_path)
    composed = Composed(sys.prefix, sys.executable, "", place, place, place, place)
    visit = AloneSession(composed, Sandbox(0))
    code = "import sys; print(input()); print('err', file=sys.stderr)"
    ended = visit.run((sys.executable, "-c", code), Limits(), stdin="in", apart=True)
    assert (ended.status, ended.output, ended.result) == (0, "in\n", b"err\n")
    question = Question.of(double, [2], {})
    ended = visit.run(program(composed), Limits(), stdin=question.to_json())
    assert (answer(ended, question, Limits()), ended.output) == (4, "['-c'] \n")
    question = Question.of(double, [], {"value": 3})
    failure = answer(visit.run(program(composed), Limits(), stdin=question.to_json()), question, Limits())
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.compared, failure.before) == ("AssertionError", ("!=", 3, 3), "three\n")
    assert [frame.text for frame in failure.frames] == ['assert value != 3, "three"']


def test_attached_without_fork_servers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A program has this process's own streams, and limits, where there are no fork servers; it takes nothing with it."""
    place = str(tmp_path)
    composed = Composed(sys.prefix, sys.executable, "", place, place, place, place)
    session = AloneSession(composed, Sandbox(0))
    script = "sleep 30 > /dev/null & echo $! $GREETING; ulimit -f; exit 3"
    ended = session.attach(("/bin/sh", "-c", script), Limits(file_size=1 << 20), {"GREETING": "hello"})
    pid, greeting, blocks = capfd.readouterr().out.split()
    os.kill(int(pid), signal.SIGKILL)
    assert (ended.status, greeting, blocks) == (3, "hello", "2048")


def test_programs_of_another_python() -> None:
    """A script that the system's Python runs is looked for in the environment alone, any other program as ever."""
    scripts = [path.name for path in Path("/usr/bin").iterdir() if path.is_file() and is_python_script(path)]
    for name in ("sh", "/usr/bin/pip", "nonesuch"):
        assert found_program("/prefix", name) == name
    for name in scripts:
        assert found_program("/prefix", name) == f"/prefix/bin/{name}"


def is_python_script(path: Path) -> bool:
    """Return whether a file begins as a script for Python does."""
    first = path.read_bytes()[:128].partition(b"\n")[0]
    return os.access(path, os.X_OK) and first.startswith(b"#!") and b"python" in first
