"""pytest's options for how much is told, and its debugger, on a matrix."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import LABEL, Done

BAD = f"spip::bad[1.0-{LABEL}]"
ERROR = "ImportError: not here"
FRAME = 'bad.py", line 14, in <module>'
GRID, WHY, TELL = "spip: versions x Pythons", "spip: failures", "spip: 2 combinations: 1 passed, 1 failed"
CODE = "".join(f"print('line {number}')\n" for number in range(13)) + "raise ImportError('not here')\n"
RUNS: Mapping[str, tuple[str, ...]] = {
    "auto": (),
    "line": ("--tb=line",),
    "native-n2": ("--tb=native", "-n2"),
    "no": ("--tb=no",),
    "short": ("--tb=short",),
    "qq": ("-qq",),
    "pdb": ("--pdb",),
    "pdb-n2": ("--pdb", "-n2"),
}


@pytest.fixture(scope="module")
def done(make_machine: MakeMachine) -> dict[str, Done]:
    """Run everything once."""
    machine = make_machine()
    wheel(machine.files, "bad", "1.0", {"bad.py": CODE})
    wheel(machine.files, "good", "1.0", {"good.py": ""})
    more = ("--spip-matrix=bad", "--spip-matrix=good", "--junitxml=junit.xml")
    return machine.run_all({name: {"arguments": (*more, *arguments)} for name, arguments in RUNS.items()})


def failures(it: Done) -> list[str]:
    """Return the lines of pytest's section on failures, without its title and what follows it."""
    behind = it.stdout.partition("= FAILURES =")[2].splitlines()[1:]
    end = next(
        (number for number, line in enumerate(behind) if line.startswith(("==", "- generated", "--------------")))
    )
    return behind[:end]


def test_line(done: dict[str, Done]) -> None:
    """With --tb=line a failure is a line, which its summary does not repeat."""
    assert failures(done["line"]) == [f"{BAD}: import-error: {ERROR}"]
    assert f"FAILED (import-error) {BAD} - import-error: " in done["line"].stdout
    assert GRID in done["line"].stdout


def test_native(done: dict[str, Done]) -> None:
    """With --tb=native it is what Python wrote, as a whole and as it wrote it."""
    lines = failures(done["native-n2"])
    assert "line 0" in lines
    assert "Traceback (most recent call last):" in lines
    assert ERROR in lines


def test_no(done: dict[str, Done]) -> None:
    """With --tb=no there are no stories, neither pytest's nor ours; the grid says what failed."""
    stdout = done["no"].stdout
    assert "FAILURES" not in stdout
    assert WHY not in stdout
    assert FRAME not in stdout
    assert GRID in stdout
    assert TELL in stdout


def test_short(done: dict[str, Done]) -> None:
    """With --tb=short it is the exception and where it was raised."""
    lines = [line.strip() for line in failures(done["short"])]
    assert any(FRAME in line for line in lines)
    assert ERROR in lines
    assert not any(line.startswith("line ") for line in lines)
    assert any(line.startswith("line ") for line in map(str.strip, failures(done["auto"])))


def test_silent(done: dict[str, Done]) -> None:
    """With -qq there is neither pytest's summary line nor our grid."""
    it = done["qq"]
    assert it.status == 1
    assert "spip: " not in it.stdout
    assert ERROR in it.stdout
    assert set(it.outcomes.values()) == {"passed", "failed"}


def test_debugger(done: dict[str, Done]) -> None:
    """The debugger is not entered where nothing is left to look at: a line says so, and how to see it again."""
    it = done["pdb"]
    assert f"spip: --pdb: bad[1.0-{LABEL}] failed in a process of its own, which has ended; reproduce: " in it.stdout
    assert "(Pdb)" not in it.stdout
    assert it.status == 1
    assert set(it.outcomes.values()) == {"passed", "failed"}


def test_debugger_with_workers(done: dict[str, Done]) -> None:
    """With workers xdist refuses it, in a line."""
    assert done["pdb-n2"].status == 4
    assert "--pdb is incompatible with distributing tests" in done["pdb-n2"].stderr


@pytest.mark.parametrize("name", ["auto", "line", "native-n2", "no", "short", "qq"])
def test_status(done: dict[str, Done], name: str) -> None:
    """However little is told, the session failed, and JUnit's file says why."""
    assert done[name].status == 1
    assert ERROR in (done[name].project / "junit.xml").read_text("utf-8")
