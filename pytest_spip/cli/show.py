"""``pytest-spip show [ID|RUN]``: one combination with all that is known of it, or what a run came to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

from pytest_spip.cli.runs import add_rootdir, add_what, chosen_run, command_parser, console, write_lines
from pytest_spip.model import Combo, Result, Summary, counted
from pytest_spip.report import jsonfile, terminal
from pytest_spip.report.bisection import bisection_lines
from pytest_spip.report.support_lines import support_lines
from pytest_spip.report.texts import failure_text
from pytest_spip.session.loading import load_run, named_combination

__all__ = ["combination", "parser", "run_lines", "show"]

ALL = 10_000
"""Lines of output: all that were kept."""


def show(arguments: Sequence[str]) -> int:
    """Print a combination or a run; return the exit status."""
    given = parser().parse_args(arguments)
    to = console()
    if "[" not in given.what:
        summary = load_run(chosen_run(given, given.what))
        if given.json:
            to.print(json.dumps(jsonfile.as_document(summary), indent=1))
        else:
            write_lines(run_lines(summary), to)
        return 0
    summary = load_run(chosen_run(given))
    combo = combination(summary, given.what)
    if given.json:
        to.print(json.dumps(jsonfile.combination_document(summary, combo), indent=1))
    else:
        write_lines(_combination_lines(summary, combo), to)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("show", "One combination of a run, or what the run came to.")
    add_what(made, "such as 'colorama[0.4.6-py312]', or a run")
    made.add_argument("--json", action="store_true", help="the same, for programs")
    add_rootdir(made)
    return made


def combination(summary: Summary, name: str) -> Combo:
    """Return the combination that an id, or a node id, names. Raises ``UsageProblem``."""
    return named_combination(summary.combos, name, summary.facts.uuid)


def run_lines(summary: Summary) -> Iterator[terminal.Line]:
    """Yield what a run came to."""
    facts = summary.facts
    yield [(f"run {facts.uuid}", "bold"), (f"  {facts.started}  {facts.command}", "dim")]
    yield from terminal.grid_lines(summary)
    yield from terminal.group_lines(summary.groups)
    yield from support_lines(summary.support)
    yield from bisection_lines(summary.bisect)
    yield from terminal.warning_lines(summary)
    yield [(terminal.summary_line(summary), "bold")]
    yield from ([(line, "")] for line in terminal.closing_lines(summary))


def _combination_lines(summary: Summary, combo: Combo) -> Iterator[terminal.Line]:
    result = summary.results.get(combo.ordinal)
    text, style = terminal.cell(result)
    yield [(combo.id, "bold"), ("  ", ""), (text, style)]
    if result is None:
        yield [("it has no verdict", "dim")]
        return
    for line in failure_text(result, lines=ALL).splitlines():
        yield [(line, "")]
    for name, value in _facts(summary, combo, result):
        if value:
            yield [(f"{name}: ", "dim"), (value, "")]


def _facts(summary: Summary, combo: Combo, result: Result) -> Iterator[tuple[str, str]]:
    path = next((one.path for one in summary.interpreters if one.id == combo.interpreter), "")
    yield "interpreter", f"{combo.interpreter} {path}".rstrip()
    yield "locked", ", ".join(f"{name} {version}" for name, version in result.locked.items())
    yield "tests", counted(result.tests)
    yield "time", f"{result.seconds:.3f} s, CPU {result.cpu_seconds:.3f} s, {result.peak_rss / (1 << 20):.0f} MiB"
    yield "phases", ", ".join(f"{phase} {seconds:.3f} s" for phase, seconds in result.phases.items())
    yield "run by", f"{result.worker} on {result.host}, {result.runner}" if result.worker else ""
    yield "fingerprint", result.fingerprint
