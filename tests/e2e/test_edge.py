"""The pytest edge, end to end: what users of pytest know works on a matrix as they know it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.machine import HERE, LABEL, VERSION, Done, Machine

ALPHA_1, ALPHA_2 = f"spip::alpha[1.0-{LABEL}]", f"spip::alpha[2.0-{LABEL}]"
BETA_1, BETA_2 = f"spip::beta[1.0-{LABEL}]", f"spip::beta[2.0-{LABEL}]"
EVERY = [ALPHA_1, ALPHA_2, BETA_1, BETA_2]
CROSSED = f"spip::alpha+beta[2.0-1.0-{LABEL}]"
BOTH = ("--spip-matrix=alpha", "--spip-matrix=beta")

HOOKS = """\
import pytest

def pytest_spip_plan(config, combos, interpreters):
    assert [one.python for one in interpreters] == [{version!r}]
    combos[:] = [combo for combo in reversed(combos) if combo.id != {dropped!r}]

def pytest_spip_interpreters(config):
    return [{python!r}]

def pytest_spip_verdict(config, combo, result):
    with open("verdicts.txt", "a") as file:
        print(combo.ordinal, combo.id, result.verdict.outcome, result.verdict.reason, file=file)

def pytest_spip_report(config, kind, path, summary, plan):
    if kind == "count":
        with open(path, "w") as file:
            print(len(plan.combos), len(summary.results), file=file)
        return True
"""
MARKS = """\
import pytest

def pytest_collection_modifyitems(items):
    assert items[0].nodeid.startswith("spip::")
    items[0].add_marker(pytest.mark.skip(reason="not today"))
    items[2].add_marker(pytest.mark.xfail(reason="known", strict=True))
"""
IDLE = """\
import sys

def pytest_unconfigure():
    rooms = ("plan", "provision", "compose", "run", "dispatch", "record", "report", "session", "items", "controller")
    print("ROOMS", [name for name in sys.modules if name.startswith(tuple(f"pytest_spip.{room}" for room in rooms))])
"""
PLAIN = {"test_plain.py": "def test_one():\n    pass\n\ndef test_two():\n    assert False\n"}

# Runs by name: arguments, and other keywords of Machine.run.
RUNS: Mapping[str, Mapping[str, Any]] = {
    "verbose": {"arguments": (*BOTH, "-vv", "--junitxml=junit.xml", "--durations=0")},
    "collect": {"arguments": (*BOTH, "--collect-only", "-q")},
    "k": {"arguments": (*BOTH, "-k", "beta and not 2.0")},
    "k-nothing": {"arguments": (*BOTH, "-k", "gamma")},
    "deselect": {"arguments": (*BOTH, "--deselect", BETA_1)},
    "x": {"arguments": (*BOTH, "--spip-matrix=gamma", "-x")},
    "no-xdist": {"arguments": (*BOTH, "-p", "no:xdist")},
    "n2": {"arguments": (*BOTH, "--spip-matrix=gamma", "-n2")},
    "n8": {"arguments": (*BOTH, "--spip-matrix=gamma", "-n8")},
    "n0": {"arguments": (*BOTH, "--spip-matrix=gamma", "-n0")},
    "n2-maxfail": {"arguments": ("--spip-matrix=beta", "--spip-matrix=gamma", "-n2", "--maxfail=1")},
    "paste": {"arguments": (BETA_2,), "python": ""},
    "paste-n2": {"arguments": (BETA_2, ALPHA_1, "-n2"), "python": ""},
    "prefix": {"arguments": (*BOTH, "spip::alpha")},
    "resolution": {"arguments": ("--spip-matrix=alpha", "--spip-resolution=highest,lowest-direct", "-n2")},
    "paste-resolution": {"arguments": (f"{ALPHA_1[:-1]}-lowest-direct]",), "python": ""},
    "cross": {"arguments": (*BOTH, "--spip-cross", "--collect-only", "-q")},
    "paste-cross": {"arguments": (CROSSED, "--collect-only", "-q"), "python": ""},
    "pairwise": {
        "arguments": (*BOTH, "--spip-matrix=gamma", "--spip-cross", "--spip-versions=pairwise", "--collect-only", "-q")
    },
    "unknown-id": {"arguments": (*BOTH, f"spip::alpha[9.9-{LABEL}]")},
    "unknown-alone": {"arguments": (f"spip::alpha[9.9-{LABEL}]",), "python": ""},
    "plain-beside": {"arguments": ("--spip-matrix=alpha",), "files": PLAIN},
    "plain-named": {"arguments": ("--spip-matrix=alpha", "test_plain.py"), "files": PLAIN},
    "plain-named-n2": {"arguments": ("--spip-matrix=alpha", "test_plain.py", "-n2"), "files": PLAIN},
    "plain-id": {"arguments": (ALPHA_1, "test_plain.py::test_one"), "files": PLAIN, "python": ""},
    "idle": {"bare": True, "files": {**PLAIN, "conftest.py": IDLE}},
    "idle-ini": {
        "bare": True,
        "files": {**PLAIN, "pytest.ini": "[pytest]\nspip_matrix = alpha\n", "conftest.py": IDLE},
    },
    "switched-off": {"bare": True, "arguments": ("-p", "no:spip"), "files": PLAIN},
    "hooks": {
        "arguments": (*BOTH, "--spip-report=count:count.txt", "-v"),
        "python": VERSION,
        "files": {"conftest.py": HOOKS.format(version=VERSION, python=HERE, dropped=f"alpha[1.0-{LABEL}]")},
    },
    "marks": {"arguments": (*BOTH, "-rxs"), "files": {"conftest.py": MARKS}},
    "marks-n2": {"arguments": (*BOTH, "-rxs", "-n2"), "files": {"conftest.py": MARKS}},
    "strict": {
        "arguments": ("--spip-matrix=alpha", "-n2"),
        "files": {"pytest.ini": "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n"},
    },
    "at-file": {
        "arguments": ("--spip-matrix=@list.txt", "--collect-only", "-q"),
        "files": {"list.txt": "# ours\nbeta>1\n\nalpha == 1.0  # the first\n"},
    },
    "at-file-apart": {
        "arguments": ("--spip-matrix", "@list.txt", "--spip-with", "@list.txt", "--collect-only", "-q"),
        "files": {
            "list.txt": "# ours, or not\nbeta>1\n\nalpha == 1.0  # the first\n",
            "alpha/conftest.py": "spip = 1 / 0",
        },
    },
}


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Serve two releases of alpha, both good, two of beta, the first broken, and eight of gamma, the odd ones broken."""
    machine = make_machine()
    for version in ("1.0", "2.0"):
        wheel(machine.files, "alpha", version, {"alpha.py": ""})
    for name, versions in (("beta", "12"), ("gamma", "12345678")):
        for version in versions:
            text = "print('loud')\nimport nonesuch" if int(version) % 2 else ""
            wheel(machine.files, name, f"{version}.0", {f"{name}.py": text})
    return machine


@pytest.fixture(scope="module")
def done(machine: Machine) -> dict[str, Done]:
    """Run everything once."""
    machine.run(*BOTH, "--spip-matrix=gamma", "--collect-only", project="warm-up")
    for name, how in RUNS.items():
        machine.project(name, how.get("files", {}))
    return machine.run_all({name: {key: how[key] for key in how.keys() - {"files"}} for name, how in RUNS.items()})


def listed(done: Done) -> list[str]:
    """Return the node ids that ``--collect-only -q`` printed."""
    return [line for line in done.stdout.splitlines() if "::" in line]


def bare(nodeids: list[str]) -> list[str]:
    """Return ids of combinations for node ids."""
    return [nodeid.removeprefix("spip::") for nodeid in nodeids]


# -- listing ------------------------------------------------------------------------------------------------------------


def test_collect_only_lists_the_matrix(done: dict[str, Done]) -> None:
    """--collect-only lists every combination by its node id, oldest release first, and runs nothing."""
    assert listed(done["collect"]) == EVERY
    assert done["collect"].status == 0
    assert not (done["collect"].project / ".spip").exists()
    assert not (done["collect"].project / "report.json").exists()


def test_at_file_lists_requirements(done: dict[str, Done]) -> None:
    """@FILE holds one requirement a line, in order; comments and empty lines do not count."""
    assert listed(done["at-file"]) == listed(done["at-file-apart"]) == [BETA_2, ALPHA_1]


def test_cross_lists_what_meets(done: dict[str, Done]) -> None:
    """With --spip-cross all releases meet all, and pairwise lists fewer; such ids paste back as others do."""
    ends = [f"{alpha}-{beta}-{LABEL}]" for alpha in ("1.0", "2.0") for beta in ("1.0", "2.0")]
    assert listed(done["cross"]) == [f"spip::alpha+beta[{end}" for end in ends]
    assert listed(done["paste-cross"]) == [CROSSED]
    assert len(listed(done["pairwise"])) == 16 < 2 * 2 * 8


# -- running ------------------------------------------------------------------------------------------------------------


def test_verbose_run_names_each_item(done: dict[str, Done]) -> None:
    """With -v each item has a line, in the plan's order, with outcome and reason."""
    lines = [line.rstrip() for line in done["verbose"].stdout.splitlines() if line.startswith("spip::")]
    progress = [line.split(maxsplit=1) for line in lines if line.endswith("%]")]
    assert [name for name, _ in progress] == EVERY
    assert [re.split(r"\s{2,}", words)[0] for _, words in progress] == [
        "PASSED",
        "PASSED",
        "FAILED (import-error)",
        "PASSED",
    ]
    assert done["verbose"].status == 1


def test_resolutions_are_an_axis(done: dict[str, Done]) -> None:
    """With two resolutions each release is tried with both, under ids of their own, which paste back."""
    run, pasted = done["resolution"], done["paste-resolution"]
    ids = [f"alpha[{version}-{LABEL}{end}]" for version in ("1.0", "2.0") for end in ("", "-lowest-direct")]
    assert {name: one["resolution"] for name, one in run.combinations.items()} == dict(
        zip(ids, ["highest", "lowest-direct"] * 2, strict=True)
    )
    assert set(run.outcomes.values()) == {"passed"}
    assert "x 2 resolutions (highest lowest-direct) = 4 combinations" in run.stdout
    assert pasted.outcomes == {f"alpha[1.0-{LABEL}-lowest-direct]": "passed"}


def test_failing_item_tells_its_story(done: dict[str, Done]) -> None:
    """A failing item prints phase, reason, the end of its output and how to see it again, and no traceback of ours."""
    text = done["n0"].stdout
    failure_text = text[text.index("_ beta[1.0") : text.index("_ gamma[1.0")].splitlines()[:-1]
    assert failure_text[1] == "failed in phase import: import-error: ModuleNotFoundError: No module named 'nonesuch'"
    assert failure_text[2] == "    loud"
    assert failure_text[3] == "    Traceback (most recent call last):"
    assert failure_text[-2] == "    ModuleNotFoundError: No module named 'nonesuch'"
    assert failure_text[-1].startswith("reproduce: uv run --isolated --no-project --python ")
    assert "--with beta==1.0 " in failure_text[-1]
    assert "pytest_spip" not in text
    assert "check_import" not in text


def test_repeated_failures_refer_to_the_first(done: dict[str, Done]) -> None:
    """A failure like an earlier one refers to it instead of telling the story again."""
    text = done["n0"].stdout
    assert text.count("    loud\n") == 1
    assert text.count("like spip::beta[1.0") == 4
    assert "    5 x import-error: ModuleNotFoundError: No module named 'nonesuch'\n" in text


def test_terminal_ends_with_grid_and_summary(done: dict[str, Done]) -> None:
    """The terminal ends with the grid, the groups and the summary line, before pytest's own."""
    lines = done["n0"].stdout.splitlines()
    last = next(
        number for number, line in enumerate(lines) if line.startswith("spip: 12 combinations: 7 passed, 5 failed in ")
    )
    assert re.search(r"in \d+\.\d s, \d+\.\d combinations/s, CPU \d+%, iowait \d+\.\d%$", lines[last])
    rest = [line for line in lines[last + 1 :] if not line.startswith("spip: limited by: ")]
    assert "5 failed, 7 passed" in rest[0]
    grid = next(number for number, line in enumerate(lines) if "= spip: versions x Pythons =" in line)
    assert [line.split() for line in lines[grid + 1 : grid + 4]] == [["alpha", LABEL], ["2.0", "ok"], ["1.0", "ok"]]
    assert grid < next(number for number, line in enumerate(lines) if "= spip: failures =" in line) < last


def test_header_says_what_and_where(done: dict[str, Done], machine: Machine) -> None:
    """The header says what is planned, where environments live, how items are run, and the run's name."""
    text = done["n0"].stdout
    assert f"spip: 2 of alpha, 2 of beta, 8 of gamma x 1 Python ({LABEL}) = 12 combinations\n" in text
    assert re.search(rf"spip: environments on (tmpfs|disk) at {machine.ram}/\S+ \([\d.]+ GiB free.*\)\n", text)
    assert f"spip: run {done['n0'].report['run']['uuid']}\n" in text


def test_no_colours_without_a_terminal(done: dict[str, Done]) -> None:
    """Where standard output is no terminal there are no escape sequences."""
    assert not [name for name, one in done.items() if "\x1b" in one.stdout]


def test_junitxml(done: dict[str, Done]) -> None:
    """--junitxml names items, carries outcome, reason and reproduction as properties, and calls a failure a failure."""
    cases = ET.parse(done["verbose"].project / "junit.xml").getroot().findall(".//testcase")
    assert [case.get("name") for case in cases] == bare(EVERY)
    assert {case.get("classname") for case in cases} == {"spip"}
    properties = [{each.get("name"): each.get("value") for each in case.iter("property")} for case in cases]
    assert properties[0] == {"spip_outcome": "passed", "spip_phase": "import"}
    assert properties[2]["spip_reason"] == "import-error"
    assert str(properties[2]["spip_reproduce"]).startswith("uv run ")
    assert [[child.tag for child in case if child.tag != "properties"] for case in cases] == [[], [], ["failure"], []]
    (failure,) = cases[2].iter("failure")
    assert "No module named 'nonesuch'" in str(failure.get("message")) + str(failure.text)


def test_durations(done: dict[str, Done]) -> None:
    """--durations knows how long each item took."""
    text = done["verbose"].stdout
    for nodeid in EVERY:
        assert re.search(rf"^\d+\.\d\ds call +{re.escape(nodeid)}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["n0", "n2", "strict"])
def test_no_warnings(done: dict[str, Done], name: str) -> None:
    """A run warns of nothing, also where the project makes warnings errors."""
    assert done[name].stderr == ""
    assert "warning" not in done[name].stdout.replace("filterwarnings", "")
    assert len(done[name].outcomes) == (2 if name == "strict" else 12)


# -- selecting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nodeids"),
    [
        ("k", [BETA_1]),
        ("deselect", [ALPHA_1, ALPHA_2, BETA_2]),
        ("no-xdist", EVERY),
        ("paste", [BETA_2]),
        ("paste-n2", [ALPHA_1, BETA_2]),
        ("prefix", [ALPHA_1, ALPHA_2]),
        ("plain-id", [ALPHA_1]),
    ],
)
def test_selection(done: dict[str, Done], name: str, nodeids: list[str]) -> None:
    """Selected combinations run, and no others."""
    assert sorted(done[name].outcomes) == sorted(bare(nodeids)), done[name].stdout + done[name].stderr
    assert done[name].report["summary"]["planned"] == len(nodeids)


def test_selecting_nothing(done: dict[str, Done]) -> None:
    """Where no item is selected the exit status is pytest's 5."""
    assert done["k-nothing"].status == 5


@pytest.mark.parametrize("name", ["unknown-id", "unknown-alone"])
def test_unknown_node_id(done: dict[str, Done], name: str) -> None:
    """A node id that is not in the plan ends in status 4 and one line that names it, and leaves nothing behind."""
    assert done[name].status == 4, done[name].stdout + done[name].stderr
    (line,) = [line for line in done[name].stderr.splitlines() if line]
    assert line.startswith("ERROR: ")
    assert "alpha" in line
    assert not (done[name].project / ".spip").exists()


def test_exitfirst(done: dict[str, Done]) -> None:
    """-x stops at the first failure; what was not run has no verdict and is counted."""
    assert done["x"].outcomes == dict(zip(bare(EVERY[:3]), ("passed", "passed", "failed"), strict=True))
    assert "spip: 3 combinations: 2 passed, 1 failed, 9 not run in " in done["x"].stdout
    assert "stopping after 1 failures" in done["x"].stdout
    assert done["x"].status == 1


def test_maxfail_with_workers(done: dict[str, Done]) -> None:
    """--maxfail stops a distributed run early, too."""
    outcomes = list(done["n2-maxfail"].outcomes.values())
    assert "failed" in outcomes
    assert len(outcomes) < 10
    assert "stopping after 1 failures" in done["n2-maxfail"].stdout


def test_verdicts_do_not_depend_on_workers(done: dict[str, Done]) -> None:
    """Without workers, with two and with eight the verdicts are the same, and so is the report's order."""
    assert list(done["n0"].cells.items()) == list(done["n2"].cells.items()) == list(done["n8"].cells.items())
    assert len(done["n0"].cells) == 12
    assert {one["worker"] for one in done["n0"].combinations.values()} == {"main"}
    assert {one["worker"] for one in done["n2"].combinations.values()} <= {"gw0", "gw1"}
    assert done["n0"].status == done["n2"].status == done["n8"].status == 1


def test_last_failed_and_failed_first(machine: Machine) -> None:
    """--lf runs what failed the last time, --ff begins with it."""
    first = machine.run(*BOTH, project="again")
    assert first.outcomes[f"beta[1.0-{LABEL}]"] == "failed"
    last_failed = machine.run(*BOTH, "--lf", project="again")
    assert list(last_failed.outcomes) == bare([BETA_1])
    failed_first = machine.run(*BOTH, "--ff", "-v", project="again")
    ran = [line.split()[0] for line in failed_first.stdout.splitlines() if line.endswith("%]")]
    assert ran == [BETA_1, ALPHA_1, ALPHA_2, BETA_2]


# -- beside ordinary tests ----------------------------------------------------------------------------------------------


def test_ordinary_tests_are_left_out(done: dict[str, Done]) -> None:
    """Ordinary tests beside a matrix do not run unless they are named."""
    assert "= 2 passed in" in done["plain-beside"].stdout
    assert done["plain-beside"].status == 0


@pytest.mark.parametrize("name", ["plain-named", "plain-named-n2"])
def test_named_ordinary_tests_run_too(done: dict[str, Done], name: str) -> None:
    """Ordinary tests whose path is named run beside the matrix; the report speaks of the matrix only."""
    assert "= 1 failed, 3 passed in" in done[name].stdout, done[name].stdout
    assert "def test_two():" in done[name].stdout
    assert list(done[name].outcomes) == bare([ALPHA_1, ALPHA_2])
    assert done[name].report["summary"]["planned"] == 2


def test_node_ids_of_both_kinds(done: dict[str, Done]) -> None:
    """A node id of ours and one of an ordinary test can be given together."""
    assert "= 2 passed in" in done["plain-id"].stdout


@pytest.mark.parametrize("name", ["idle", "idle-ini"])
def test_inert_without_a_matrix(done: dict[str, Done], name: str) -> None:
    """Without a matrix, or with one in the ini file but no --spip, the plugin does nothing and imports no room."""
    assert "= 1 failed, 1 passed in" in done[name].stdout
    assert "ROOMS []" in done[name].stdout
    assert "spip:" not in done[name].stdout
    assert not (done[name].project / ".spip").exists()


def test_can_be_switched_off(done: dict[str, Done]) -> None:
    """With -p no:spip pytest runs as if the plugin were not installed."""
    assert "= 1 failed, 1 passed in" in done["switched-off"].stdout
    assert "spip" not in done["switched-off"].stdout.replace("switched-off", "").split("rootdir:")[0]


# -- settings in ini files ----------------------------------------------------------------------------------------------

INI = """\
spip_matrix =
    alpha
    beta>1
spip_python = {python}
spip_versions = latest
spip_cache = {cache}
"""
TOML = """\
spip_matrix = ["alpha", "beta>1"]
spip_python = "{python}"
spip_versions = "latest"
spip_cache = "{cache}"
"""
INI_FILES = {
    "pytest.ini": ("pytest.ini", f"[pytest]\n{INI}"),
    "tox.ini": ("tox.ini", f"[pytest]\n{INI}"),
    "ini_options": ("pyproject.toml", f"[tool.pytest.ini_options]\n{TOML}"),
    "tool.pytest": ("pyproject.toml", f"[tool.pytest]\n{TOML}"),
}


@pytest.fixture(scope="module")
def by_ini(machine: Machine) -> dict[str, Done]:
    """List the matrix of each kind of ini file, and once with options that contradict one."""
    for name, (file, text) in INI_FILES.items():
        machine.project(name, {file: text.format(python=HERE, cache=machine.cache)})
    machine.project("over", {"pytest.ini": INI_FILES["pytest.ini"][1].format(python=HERE, cache=machine.cache)})
    listing = ("--spip", "--collect-only", "-q")
    runs = {name: {"arguments": listing, "bare": True} for name in INI_FILES}
    over = (*listing, "--spip-matrix=beta", "--spip-versions=all")
    return machine.run_all({**runs, "over": {"arguments": over, "bare": True}})


@pytest.mark.parametrize("name", INI_FILES)
def test_ini_twins(by_ini: dict[str, Done], name: str) -> None:
    """Every kind of ini file may name the matrix and its options; --spip puts them to use."""
    assert listed(by_ini[name]) == [ALPHA_2, BETA_2], by_ini[name].stdout + by_ini[name].stderr


def test_an_ini_file_cannot_turn_the_sandbox_off(machine: Machine) -> None:
    """Whoever clones a project must not lose the sandbox by its ini file; the line says what to do."""
    machine.project("careless", {"pytest.ini": "[pytest]\nspip_matrix = alpha\nspip_sandbox = off\n"})
    done = machine.run("--spip", project="careless", bare=True)
    assert done.status == 4
    assert "spip_sandbox: an ini file cannot turn it off" in done.stderr


def test_command_line_beats_ini(by_ini: dict[str, Done]) -> None:
    """Options on the command line replace those of the ini file."""
    assert listed(by_ini["over"]) == [BETA_1, BETA_2]


# -- extending ----------------------------------------------------------------------------------------------------------


def test_plan_hook_chooses(done: dict[str, Done]) -> None:
    """A pytest_spip_plan hook drops and reorders combinations before the plan is frozen."""
    assert list(done["hooks"].outcomes) == bare([BETA_2, BETA_1, ALPHA_2])


def test_verdict_hook_sees_each_verdict(done: dict[str, Done]) -> None:
    """A pytest_spip_verdict hook sees each verdict once, with the combination that it is on."""
    assert (done["hooks"].project / "verdicts.txt").read_text("utf-8").splitlines() == [
        f"0 beta[2.0-{LABEL}] passed None",
        f"1 beta[1.0-{LABEL}] failed import-error",
        f"2 alpha[2.0-{LABEL}] passed None",
    ]


def test_report_hook_adds_a_format(done: dict[str, Done]) -> None:
    """A pytest_spip_report hook writes a kind of report that we do not know; ours are written beside it."""
    assert (done["hooks"].project / "count.txt").read_text("utf-8") == "3 3\n"
    assert "= spip: versions x Pythons =" in done["hooks"].stdout


def test_interpreters_hook_offers(machine: Machine) -> None:
    """A pytest_spip_interpreters hook offers an interpreter that the usual search does not find."""
    hidden = machine.root / "hidden" / "bin"
    hidden.mkdir(parents=True)
    (hidden / "snake").symlink_to(os.path.realpath(HERE))
    machine.project(
        "offer", {"conftest.py": f"def pytest_spip_interpreters(config):\n    return [{str(hidden / 'snake')!r}]\n"}
    )
    done = machine.run(
        "--spip-matrix=alpha",
        "--collect-only",
        "-q",
        project="offer",
        python=VERSION,
        env={"PATH": git_only(machine), "PYENV_ROOT": "/nonexistent"},
    )
    assert listed(done) == [ALPHA_1, ALPHA_2], done.stdout + done.stderr


def git_only(machine: Machine) -> str:
    """Return a PATH on which there is git and nothing else."""
    tools = machine.root / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "git").symlink_to(str(shutil.which("git")))
    return str(tools)


@pytest.mark.parametrize("name", ["marks", "marks-n2"])
def test_markers_are_honoured(done: dict[str, Done], name: str) -> None:
    """An item marked skip is not run; one marked xfail fails nothing, and its verdict is in the report as it was."""
    assert done[name].status == 0, done[name].stdout
    assert "2 passed, 1 skipped, 1 xfailed" in done[name].stdout
    assert "not today" in done[name].stdout
    assert f"XFAIL {BETA_1}" in done[name].stdout
    outcomes = {
        bare([nodeid])[0]: outcome for nodeid, outcome in zip(EVERY[1:], ("passed", "failed", "passed"), strict=True)
    }
    assert outcomes.items() <= done[name].outcomes.items()


# -- a terminal ---------------------------------------------------------------------------------------------------------


def test_terminal_shows_progress_and_colours(machine: Machine) -> None:
    """On a terminal one line tells how far the run is, and the grid is coloured."""
    text = on_a_terminal(machine, *BOTH)
    assert "spip: 4/4 done (1 failed)" in text
    assert "\x1b[31mimp\x1b[0m" in re.sub(r"\x1b\[31m +", "\x1b[31m", text)
    assert "\x1b[32m" in text


def on_a_terminal(machine: Machine, *arguments: str) -> str:
    """Run a command on a terminal and return what it showed."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *machine.options(), *arguments],
        cwd=machine.project("terminal"),
        env=machine.environment({"TERM": "xterm-256color", "COLUMNS": "120"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 60
    with process, contextlib.suppress(OSError):  # reading fails when the last writer is gone
        while time.monotonic() < until:
            if select.select([ours], [], [], 1.0)[0]:
                shown += os.read(ours, 1 << 16)
        process.kill()
    os.close(ours)
    return shown.decode("utf-8", "replace")
