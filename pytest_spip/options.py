"""Every option, once: its field of the settings, its flag on the command line, its twin in ini files, and what its value means."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pytest_spip import option_values as values
from pytest_spip.names import OWN_RUNS

__all__ = ["MARKS", "OPTIONS", "Option", "Settings", "joined_arguments"]


Convert = Callable[[str, Any], object]
SHORT, LONG = 60.0, 600.0
"""Seconds that an import may take, and any other check, unless the user says otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """``--spip-NAME`` and its ini twin ``spip_NAME``; ``field`` is the one of ``Settings``.

    ``kind`` is text, texts (repeatable), flag, or word (which may stand alone, and has its value behind ``=``;
    ``alone`` is its value then). ``convert`` takes the flag and what was given, and returns what the settings hold; it raises
    ``UsageProblem``.
    """

    field: str
    kind: str
    metavar: str
    help: str
    convert: Convert | None = None
    alone: str = ""

    @property
    def name(self) -> str:
        """``exclude-newer``; a field cannot be called ``with``, which is a word of Python's."""
        return self.field.rstrip("_").replace("_", "-")

    @property
    def flag(self) -> str:
        """``--spip-exclude-newer``."""
        return f"--spip-{self.name}"

    @property
    def listed(self) -> bool:
        """Whether commas separate several values."""
        return self.metavar == "LIST"

    @property
    def dest(self) -> str:
        """``spip_exclude_newer``: attribute and ini name."""
        return f"spip_{self.name.replace('-', '_')}"


MARKS = {
    "spip_xfail": "combinations that are expected to fail, such as: colorama<0.3 ; python_version >= '3.12'",
    "spip_skip": "combinations that are skipped, written likewise",
    "spip_flaky": "combinations that are tried again when they fail (with pytest-rerunfailures), written likewise",
}
"""Ini files' lines that mark items, one condition each."""


def _option(
    default: object,
    kind: str,
    metavar: str,
    text: str,
    convert: Convert | None = None,
    *,
    alone: str = "",
    is_shown: bool = True,
) -> Any:
    """Return a field of the settings that carries its option; one that is not shown is no part of the representation."""
    return dataclasses.field(default=default, repr=is_shown, metadata={"option": (kind, metavar, text, convert, alone)})


@dataclasses.dataclass(
    frozen=True
)  # without slots, which take longer to make than all else here, in any session of pytest
class Settings:
    """What the user asked for, checked. ``timeout`` in seconds, ``memory`` in bytes; ``exclude_newer`` is ISO 8601 or empty.

    No ``resolution`` leaves it to the user's settings of uv, or to ``highest``.
    ``command`` are the words of a command, or further arguments for a suite's pytest; ``with_`` are further requirements of
    every environment. ``extras`` and ``groups`` are None where the user named none.
    ``slots`` are pairs of a name and the names of its devices, or ``AUTO``. ``stats`` are the seconds between two lines, 0 for
    none, and the path of a file for them, or nothing. ``shard`` are the number of a part, from 1, and how many there are.
    ``queue`` may hold a password: what is recorded or printed of the settings has it not.
    """

    matrix: tuple[str, ...] = _option(
        dataclasses.MISSING,
        "texts",
        "REQ",
        "try every release of this requirement on every Python; @FILE holds one a line (repeatable)",
    )
    python: str = _option(
        "", "text", "LIST", "interpreters: 3.9,3.11-3.13,pypy3.10,3.14t,/path (default: every installed CPython >= 3.8)"
    )
    versions: str = _option(
        "all", "text", "POLICY", "which releases: all, latest, minor, major or the newest N (default: all)"
    )
    pre: bool = _option(False, "flag", "", "pre-releases too")
    yanked: bool = _option(False, "flag", "", "yanked releases too")
    exclude_newer: str = _option(
        "",
        "text",
        "DATE",
        "the index as of that day, included, or of an instant such as 2026-11-01T00:00:00Z (default: now)",
        values.instant,
    )
    resolution: tuple[str, ...] = _option(
        (),
        "texts",
        "WAY",
        "highest, lowest-direct or lowest: which versions of all else (repeatable, an axis; default: highest)",
        values.ways,
    )
    cross: bool = _option(False, "flag", "", "every release of one requirement with every release of the others")
    check: str = _option(
        "import",
        "text",
        "KIND",
        "import, suite, command, or none: test functions alone (default: import; with a project: suite)",
        values.one_of("import", "suite", "command", "none"),
    )
    command: tuple[str, ...] = _option(
        (),
        "text",
        "CMD",
        "what the check 'command' runs; of the check 'suite' further arguments for its pytest",
        values.split,
    )
    project: str = _option("", "text", "DIR", "run this project's test suite beside every release of the matrix")
    with_: tuple[str, ...] = _option(
        (),
        "texts",
        "REQ",
        "a further requirement of every environment, or @FILE with such (repeatable)",
        values.extra_requirements,
    )
    extras: tuple[str, ...] | None = _option(
        None, "texts", "NAME", "extras that a suite needs (default: test, tests or testing; else dev)", values.words
    )
    groups: tuple[str, ...] | None = _option(
        None, "texts", "NAME", "dependency groups that a suite needs (default: those of the same names)", values.words
    )
    timeout: float = _option(
        60.0, "text", "S", "seconds for one combination (default: 60, and 600 for suites and commands)", values.seconds
    )
    memory: int = _option(
        2 << 30, "text", "SIZE", "memory for one combination, such as 512MiB (default: 2GiB)", values.size
    )
    inactivity: float = _option(
        0.0, "text", "S", "seconds without output and work after which one is given up (default: never)", values.seconds
    )
    build: str = _option(
        "auto",
        "text",
        "HOW",
        "auto, or never: wheels only, and what has none is skipped as no-wheel (default: auto)",
        values.one_of("auto", "never"),
    )
    build_timeout: float = _option(
        1800.0, "text", "S", "seconds for the build of one sdist (default: 1800)", values.seconds
    )
    build_memory: int = _option(
        8 << 30, "text", "SIZE", "memory for the build of one sdist (default: 8GiB)", values.size
    )
    runner: str = _option(
        "auto",
        "text",
        "HOW",
        "auto, warm or cold (default: auto, warm with failures confirmed cold)",
        values.one_of("auto", "warm", "cold"),
    )
    sandbox: str = _option(
        "auto",
        "text",
        "HOW",
        "auto, strict or off (default: auto, the strongest that works here)",
        values.one_of("auto", "strict", "off"),
    )
    network: bool = _option(False, "flag", "", "let package code use the network")
    env: tuple[str, ...] = _option(
        (), "texts", "NAME", "let package code see this environment variable (repeatable)", values.names
    )
    ram: str = _option(
        "auto", "text", "WHERE", "where environments live: auto, off or a directory (default: auto, a tmpfs with room)"
    )
    profile: str = _option(
        "",
        "text",
        "HOW",
        "conservative, balanced or max: workers of '-n auto', reserve of memory and limits of pressure (default: balanced)",
        values.one_of("conservative", "balanced", "max"),
    )
    autoscale: bool = _option(False, "flag", "", "give work to as many workers as memory and pressure allow")
    pin: bool = _option(False, "flag", "", "keep each worker on processors of its own, within one NUMA node")
    slots: tuple[tuple[str, tuple[str, ...]], ...] = _option(
        (),
        "texts",
        "NAME:DEVICES",
        "devices for items that need some to themselves: gpu:2 for two, gpu:0,3 by name, gpu:auto (repeatable)",
        values.slots,
    )
    stats: tuple[float, str] = _option(
        (0.0, ""),
        "text",
        "S[:PATH]",
        "a line on the state of the run every S seconds, and as JSON lines in PATH",
        values.stats,
    )
    report: tuple[tuple[str, str], ...] = _option(
        (),
        "texts",
        "TYPE[:PATH]",
        "terminal, or html, json, markdown, csv, junit, svg, badge or trace with a path, such as html:out.html (repeatable)",
        values.reports,
    )
    compare: str = _option(
        "", "text", "RUN|FILE", "say what changed since a run (a name, latest, a path) or a JSON report"
    )
    baseline: str = _option("", "text", "FILE", "compare with a file, kept in a repository, of what is known to fail")
    update_baseline: bool = _option(False, "flag", "", "write that file anew when the run has ended")
    fail_on: str = _option(
        "any",
        "text",
        "WHAT",
        "what fails the session: any failure, only what regressed against --spip-compare or --spip-baseline, or never"
        " (default: any)",
        values.one_of("any", "regressed", "never"),
    )
    bisect: bool = _option(
        False, "flag", "", "run as few releases as it takes to find where each Python's verdict changes"
    )
    shard: tuple[int, int] | None = _option(
        None,
        "text",
        "I/N",
        "run one of N parts of equal cost, the I-th; pytest-spip merge makes one run of them",
        values.shard,
    )
    queue: str = _option(
        "",
        "text",
        "URL",
        "share the run with other hosts that give the same command: postgresql://USER@HOST/DATABASE or sqlite:///FILE",
        is_shown=False,  # it may hold a password, and tracebacks with --showlocals show settings
    )
    run: str = _option("", "text", "UUID", "name of the run (default: a new UUID)", values.name)
    resume: str = _option(
        "",
        "word",
        "UUID",
        "finish what is missing of an interrupted run (--spip-resume alone: the newest)",
        values.name,
        alone="latest",
    )
    reuse: str = _option(
        "",
        "word",
        "DIR",
        "take verdicts of equal experiments from earlier runs, or from those that jobs share in DIR",
        alone=OWN_RUNS,
    )
    cache: str = _option(
        "", "text", "DIR", "where listings, wheels and builds are kept (default: the user's cache directory)"
    )
    cache_size: int = _option(
        20 << 30,
        "text",
        "SIZE",
        "what the cache is kept below, in the background, at most once a day; unlimited keeps all (default: 20GiB)",
        values.bound,
    )

    @staticmethod
    def usual_timeout(check: str) -> float:
        """Return the seconds that a check may take unless the user says otherwise."""
        return SHORT if check == "import" else LONG

    @property
    def check_text(self) -> str:
        """What equal environments must have in common for equal verdicts."""
        return shlex.join([self.check, *self.command])

    @property
    def adapts(self) -> bool:
        """Whether the number of working workers follows the machine. ``max`` means all of it, unless it is to adapt."""
        return self.autoscale or self.profile in {"conservative", "balanced"}


OPTIONS = tuple(Option(field.name, *field.metadata["option"]) for field in dataclasses.fields(Settings))
"""All options, in the order in which ``--help`` lists them."""
_WORDS = {option.flag: option.alone for option in OPTIONS if option.kind == "word"}
_VALUED = frozenset(option.flag for option in OPTIONS if option.kind in ("text", "texts"))


def joined_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line on which argparse finds the values of our options, and no others.

    It takes the next path for the value of an option that may stand alone, and puts a file's lines in the place of ``@FILE``.
    """
    joined: list[str] = []
    for number, word in enumerate(arguments):
        if word == "--":
            return [*joined, *arguments[number:]]
        if word.startswith("@") and joined and joined[-1] in _VALUED:
            joined[-1] += f"={word}"
        else:
            joined.append(f"{word}={_WORDS[word]}" if word in _WORDS else word)
    return joined
