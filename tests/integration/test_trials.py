"""Commands and suites as checks: what they show in every way to run them."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Mapping

import pytest

from pytest_spip.model import Check, Limits, Outcome, Phase, Reason, Result
from pytest_spip.options import OPTIONS
from tests.support.interpreters import pythons
from tests.support.rooms import Bases, combo, environment, filed, filed_pytest
from tests.support.ways import must_work, shared_way

LIMITS = Limits(timeout=60, memory=512 << 20, file_size=1 << 20, output=1 << 20)
LATEST = list(pythons())[-1]
WAYS = ("alone", "cold-1", "cold-2", "cold-3")
SUITE_WAYS = (*WAYS, "warm-3")
Try = Callable[..., Result]


@pytest.fixture
def attempt(tmp_path_factory: pytest.TempPathFactory, bases: Bases, adopted: None, way: str) -> Iterator[Try]:
    """Return a function that runs a check beside a small package, with a tree of files in the working directory."""
    must_work(int(way.partition("-")[2] or 1))
    used = []

    def attempt(check: Check, files: Mapping[str, str] | None = None, *, limits: Limits = LIMITS) -> Result:
        tree = tmp_path_factory.mktemp("tree")
        for name, text in (files or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(textwrap.dedent(text))
        demo = filed(
            bases.cache, "demo", "1.0", {"demo/__init__.py": "answer = 42\n", "demo/__main__.py": "print(42)\n"}
        )
        wheels = [demo, *(filed_pytest(bases.cache) if check.kind == "suite" else ())]
        made = dataclasses.replace(environment(*wheels), tree=str(tree))
        went = shared_way(tmp_path_factory.getbasetemp(), way, check)
        used.append(went)
        with went.composed(LATEST, made) as composed:
            return went.run(combo(python=bases.pythons[LATEST]), made, composed, limits)

    yield attempt
    for went in used:
        went.runner.close()


def judged(result: Result) -> tuple[Outcome, Phase, Reason | None]:
    """Return the verdict without its words."""
    return result.verdict.outcome, result.verdict.phase, result.verdict.reason


# -- commands -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("words", "expected", "detail"),
    [
        (("python", "-m", "demo"), (Outcome.PASSED, Phase.TEST, None), ""),
        (
            ("sh", "-c", "echo well >&2; exit 3"),
            (Outcome.FAILED, Phase.TEST, Reason.COMMAND_FAILED),
            "exit status 3: well",
        ),
        (("false",), (Outcome.FAILED, Phase.TEST, Reason.COMMAND_FAILED), "exit status 1, without a word"),
        (("no-such-program",), (Outcome.FAILED, Phase.TEST, Reason.COMMAND_FAILED), "No such file or directory"),
        (("sh", "-c", "kill -SEGV $$"), (Outcome.CRASHED, Phase.TEST, Reason.SIGSEGV), "killed by signal 11 (SIGSEGV)"),
        (("sh", "-c", "kill -PIPE $$"), (Outcome.CRASHED, Phase.TEST, Reason.SIGPIPE), "killed by signal 13 (SIGPIPE)"),
        (("GREETING=hi", "sh", "-c", "test $GREETING = hi"), (Outcome.PASSED, Phase.TEST, None), ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else "",
)
def test_command(attempt: Try, words: tuple[str, ...], expected: object, detail: str) -> None:
    """Exit status 0 passes; all else fails with the status and the last line, or says which signal it was."""
    result = attempt(Check("command", words))
    assert judged(result) == expected
    assert detail in result.verdict.detail


@pytest.mark.parametrize("way", WAYS)
def test_command_keeps_output_and_time(attempt: Try) -> None:
    """What a command said is kept when it passes, too, and how long it took."""
    result = attempt(Check("command", ("python", "-m", "demo")))
    assert result.output == "42\n"
    assert result.seconds > 0


@pytest.mark.parametrize("way", WAYS)
def test_command_is_alone_and_in_its_tree(attempt: Try) -> None:
    """It works in the tree, on one thread, and what it writes is thrown away."""
    code = "import os; open('new', 'x'); print(sorted(os.listdir())); print(os.environ['OMP_NUM_THREADS'])"
    for _ in range(2):
        result = attempt(Check("command", ("python", "-c", code)), {"data.txt": "", "tests/test_demo.py": ""})
        assert result.output == "['data.txt', 'new', 'tests']\n1\n"


@pytest.mark.parametrize("way", WAYS)
def test_command_without_end(attempt: Try) -> None:
    """A command that does not end is killed at its limit."""
    result = attempt(Check("command", ("sleep", "1000")), limits=dataclasses.replace(LIMITS, timeout=1))
    assert judged(result) == (Outcome.KILLED, Phase.TEST, Reason.TIMEOUT)


# -- suites -------------------------------------------------------------------------------------------------------------

EVERYTHING = """\
    import pytest
    import demo

    def test_good():
        assert demo.answer == 42

    def test_bad():
        assert demo.answer == 41, "no"

    @pytest.fixture
    def broken():
        raise RuntimeError("in the fixture")

    def test_error(broken):
        pass

    @pytest.mark.skip(reason="not now")
    def test_skipped():
        pass

    @pytest.mark.xfail(reason="known")
    def test_known():
        assert False

    @pytest.mark.xfail(reason="mended")
    def test_mended():
        pass

    @pytest.mark.parametrize("n", [1, 2])
    def test_numbers(n):
        assert n == 1
"""
SUITE = Check("suite")


@pytest.mark.parametrize("way", SUITE_WAYS)
def test_suite(attempt: Try) -> None:
    """Each test is told with its outcome, and why it failed."""
    result = attempt(SUITE, {"tests/test_all.py": EVERYTHING})
    assert judged(result) == (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED)
    assert {test.id.partition("::")[2]: test.outcome for test in result.tests} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_error": "error",
        "test_skipped": "skipped",
        "test_known": "xfailed",
        "test_mended": "xpassed",
        "test_numbers[1]": "passed",
        "test_numbers[2]": "failed",
    }
    assert result.verdict.detail.startswith("3 of 8 tests failed: tests/test_all.py::test_bad: AssertionError: no")
    (bad,) = (test for test in result.tests if test.id.endswith("test_bad"))
    assert "assert 42 == 41" in bad.detail
    assert "test_all.py:8" in bad.detail
    assert bad.seconds >= 0
    assert result.output


@pytest.mark.parametrize("way", SUITE_WAYS)
@pytest.mark.parametrize(
    ("text", "words", "expected", "detail"),
    [
        ("def test_it(): pass", (), (Outcome.PASSED, Phase.TEST, None), "1 passed"),
        ("", (), (Outcome.PASSED, Phase.IMPORT, None), "import-only: the suite has no tests"),
        ("import nowhere", (), (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED), "No module named 'nowhere'"),
        (
            "def test_it(): pass",
            ("--nonsense",),
            (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED),
            "refused its arguments",
        ),
        (
            "def test_a(): pass\ndef test_b(): assert 0",
            ("-k", "test_a"),
            (Outcome.PASSED, Phase.TEST, None),
            "1 passed",
        ),
        (
            "def test_a(): assert 0\ndef test_b():\n    import os; os._exit(0)",
            (),
            (Outcome.CRASHED, Phase.TEST, Reason.SILENT_EXIT),
            "exit status 0 in the middle of test_it.py::test_b",
        ),
        (
            "def test_b():\n    import os, signal; os.kill(os.getpid(), signal.SIGABRT)",
            (),
            (Outcome.CRASHED, Phase.TEST, Reason.SIGABRT),
            "in test_it.py::test_b",
        ),
        (
            "def test_b():\n    import socket; socket.create_connection(('example.invalid', 80))",
            (),
            (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED),
            "no network in the sandbox",
        ),
        (
            "def test_a(): pass\ndef test_b(tmp_path):\n    (tmp_path / 'big').write_bytes(bytes(8 << 20))",
            (),
            (Outcome.KILLED, Phase.TEST, Reason.ENVIRONMENT_FULL),
            "1 of 2 tests failed: test_it.py::test_b: OSError: [Errno 27] File too large",
        ),
        (
            "def test_a(): bytes(1 << 40)",
            (),
            (Outcome.KILLED, Phase.TEST, Reason.OUT_OF_MEMORY),
            f"(limit {LIMITS.memory >> 20} MiB)",
        ),
        (
            "def test_a(): bytes(1 << 40)\ndef test_b(): assert 0",
            (),
            (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED),
            "2 of 2 tests failed",
        ),
        (
            "def test_a(): pass",
            ("-W", "error", "-o", "testpaths=nowhere"),
            (Outcome.FAILED, Phase.TEST, Reason.TEST_FAILED),
            "PytestConfigWarning: No files were found in testpaths",
        ),
    ],
    ids=[
        "passes",
        "empty",
        "broken",
        "refused",
        "chosen",
        "exits",
        "crashes",
        "network",
        "fills",
        "grows",
        "mixed",
        "raises",
    ],
)
def test_ends_of_suites(attempt: Try, text: str, words: tuple[str, ...], expected: object, detail: str) -> None:
    """However a suite ends, its verdict says how."""
    result = attempt(Check("suite", words), {"test_it.py": text})
    assert judged(result) == expected
    assert detail in result.verdict.detail


@pytest.mark.parametrize("way", SUITE_WAYS)
def test_modules_that_skip_themselves(attempt: Try) -> None:
    """A module that skips itself is counted, as pytest counts it; a suite of such modules alone has no tests."""
    module = "import pytest\npytest.importorskip('nowhere')\ndef test_b(): pass"
    files = {"test_a.py": "def test_a(): pass\ndef test_c(): pass", "test_b.py": module}
    result = attempt(SUITE, files)
    assert result.verdict.detail == "2 passed, 1 skipped"
    assert ("test_b.py", "skipped") in {(test.id, test.outcome) for test in result.tests}
    assert "could not import 'nowhere'" in next(test.detail for test in result.tests if test.outcome == "skipped")
    assert attempt(SUITE, {"test_b.py": module}).verdict.is_import_only


@pytest.mark.parametrize("way", SUITE_WAYS)
def test_failures_before_the_limit_are_kept(attempt: Try) -> None:
    """A suite that hangs tells where, and what failed before."""
    text = """\
        import time
        def test_a(): assert 0
        def test_b(): pass
        def test_c(): time.sleep(1000)
    """
    result = attempt(SUITE, {"test_it.py": text}, limits=dataclasses.replace(LIMITS, timeout=5))
    assert judged(result) == (Outcome.KILLED, Phase.TEST, Reason.TIMEOUT)
    assert result.verdict.detail == "no end after 5 s in test_it.py::test_c; 1 of 2 tests failed before"
    assert {test.id[-1]: test.outcome for test in result.tests} == {"a": "failed", "b": "passed"}


@pytest.mark.parametrize("way", ["cold-3"])
def test_suite_with_our_options(attempt: Try) -> None:
    """What a project's ini file says to us is no mistake for the suite's own pytest, however strict."""
    names = [option.dest for option in OPTIONS]
    files = {"pytest.ini": "\n".join(["[pytest]", "addopts = --strict-config", *(f"{name} = x" for name in names)])}
    assert attempt(SUITE, {**files, "test_it.py": "def test_a(): pass"}).verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize("way", ["cold-3", "warm-3"])
def test_suite_cannot_be_passed_by_what_it_writes(attempt: Try) -> None:
    """What tests write where results are told counts for nothing without the end that only the check can tell."""
    text = """\
        import json, os
        def test_a():
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b'["end", 0, 0]\\n')
                except OSError:
                    pass
            os._exit(0)
    """
    assert attempt(SUITE, {"test_it.py": text}).verdict.outcome is Outcome.CRASHED
