"""The option table: each row is an option of the command line and its twin in ini files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_spip.names import OWN_RUNS

__all__ = ["MARKS", "OPTIONS", "Option", "joined_arguments"]


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One row: ``--spip-NAME`` and its ini twin ``spip_NAME``.

    ``kind`` is text, texts (repeatable), flag, or word (which may stand alone, and has its value behind ``=``;
    ``alone`` is its value then).
    """

    name: str
    kind: str
    metavar: str
    help: str
    alone: str = ""

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
OPTIONS = (
    Option(
        "matrix",
        "texts",
        "REQ",
        "try every release of this requirement on every Python; @FILE holds one a line (repeatable)",
    ),
    Option(
        "python",
        "text",
        "LIST",
        "interpreters: 3.9,3.11-3.13,pypy3.10,3.14t,/path (default: every installed CPython >= 3.8)",
    ),
    Option("versions", "text", "POLICY", "which releases: all, latest, minor, major or the newest N (default: all)"),
    Option("pre", "flag", "", "pre-releases too"),
    Option("yanked", "flag", "", "yanked releases too"),
    Option(
        "exclude-newer",
        "text",
        "DATE",
        "the index as of that day, included, or of an instant such as 2026-11-01T00:00:00Z (default: now)",
    ),
    Option(
        "resolution",
        "texts",
        "WAY",
        "highest, lowest-direct or lowest: which versions of all else (repeatable, an axis; default: highest)",
    ),
    Option("cross", "flag", "", "every release of one requirement with every release of the others"),
    Option(
        "check",
        "text",
        "KIND",
        "import, suite, command, or none: test functions alone (default: import; with a project: suite)",
    ),
    Option(
        "command", "text", "CMD", "what the check 'command' runs; of the check 'suite' further arguments for its pytest"
    ),
    Option("project", "text", "DIR", "run this project's test suite beside every release of the matrix"),
    Option("with", "texts", "REQ", "a further requirement of every environment, or @FILE with such (repeatable)"),
    Option("extras", "texts", "NAME", "extras that a suite needs (default: test, tests or testing; else dev)"),
    Option("groups", "texts", "NAME", "dependency groups that a suite needs (default: those of the same names)"),
    Option("timeout", "text", "S", "seconds for one combination (default: 60, and 600 for suites and commands)"),
    Option("memory", "text", "SIZE", "memory for one combination, such as 512MiB (default: 2GiB)"),
    Option("inactivity", "text", "S", "seconds without output and work after which one is given up (default: never)"),
    Option(
        "build", "text", "HOW", "auto, or never: wheels only, and what has none is skipped as no-wheel (default: auto)"
    ),
    Option("build-timeout", "text", "S", "seconds for the build of one sdist (default: 1800)"),
    Option("build-memory", "text", "SIZE", "memory for the build of one sdist (default: 8GiB)"),
    Option("runner", "text", "HOW", "auto, warm or cold (default: auto, warm with failures confirmed cold)"),
    Option("sandbox", "text", "HOW", "auto, strict or off (default: auto, the strongest that works here)"),
    Option("network", "flag", "", "let package code use the network"),
    Option("env", "texts", "NAME", "let package code see this environment variable (repeatable)"),
    Option(
        "ram", "text", "WHERE", "where environments live: auto, off or a directory (default: auto, a tmpfs with room)"
    ),
    Option(
        "profile",
        "text",
        "HOW",
        "conservative, balanced or max: workers of '-n auto', reserve of memory and limits of pressure (default: balanced)",
    ),
    Option("autoscale", "flag", "", "give work to as many workers as memory and pressure allow"),
    Option("pin", "flag", "", "keep each worker on processors of its own, within one NUMA node"),
    Option(
        "slots",
        "texts",
        "NAME:DEVICES",
        "devices for items that need some to themselves: gpu:2 for two, gpu:0,3 by name, gpu:auto (repeatable)",
    ),
    Option("stats", "text", "S[:PATH]", "a line on the state of the run every S seconds, and as JSON lines in PATH"),
    Option(
        "report",
        "texts",
        "TYPE[:PATH]",
        "terminal, or html, json, markdown, csv, junit, svg, badge or trace with a path, such as html:out.html (repeatable)",
    ),
    Option("compare", "text", "RUN|FILE", "say what changed since a run (a name, latest, a path) or a JSON report"),
    Option("baseline", "text", "FILE", "compare with a file, kept in a repository, of what is known to fail"),
    Option("update-baseline", "flag", "", "write that file anew when the run has ended"),
    Option(
        "fail-on",
        "text",
        "WHAT",
        "what fails the session: any failure, only what regressed against --spip-compare or --spip-baseline, or never"
        " (default: any)",
    ),
    Option("bisect", "flag", "", "run as few releases as it takes to find where each Python's verdict changes"),
    Option("run", "text", "UUID", "name of the run (default: a new UUID)"),
    Option(
        "resume",
        "word",
        "UUID",
        "finish what is missing of an interrupted run (--spip-resume alone: the newest)",
        "latest",
    ),
    Option(
        "reuse",
        "word",
        "DIR",
        "take verdicts of equal experiments from earlier runs, or from those that jobs share in DIR",
        OWN_RUNS,
    ),
    Option("cache", "text", "DIR", "where listings, wheels and builds are kept (default: the user's cache directory)"),
    Option(
        "cache-size",
        "text",
        "SIZE",
        "what the cache is kept below, in the background, at most once a day; unlimited keeps all (default: 20GiB)",
    ),
)


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
