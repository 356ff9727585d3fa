"""``pytest-spip export ID|RUN --as=FORMAT``: one environment, or a run's failing combinations, for other tools."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_spip.cli.runs import add_rootdir, add_what, chosen_run, command_parser
from pytest_spip.cli.show import combination
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.report.export import failing, github_matrix, requirements, tox_ini
from pytest_spip.session.loading import load_run

__all__ = ["export", "parser"]

ONE, MANY = ("requirements", "pylock"), ("tox", "github")
FORMS = "of a combination: requirements (the default) or pylock; of a run: tox (the default) or github"


def export(arguments: Sequence[str]) -> int:
    """Print a combination's environment, or what failed in a run; return the exit status."""
    given = parser().parse_args(arguments)
    is_one = "[" in given.what
    form = given.form or (ONE if is_one else MANY)[0]
    if form not in (ONE if is_one else MANY):
        what = f"{form} is made of {'a run' if is_one else 'one combination'}"
        raise UsageProblem("--as", what, f"choose from {', '.join(ONE if is_one else MANY)}")
    directory = chosen_run(given, "" if is_one else given.what)
    summary = load_run(directory)
    if not is_one:
        combos = failing(summary)
        sys.stdout.write(tox_ini(combos) if form == "tox" else github_matrix(combos))
        return 0
    combo = combination(summary, given.what)
    result = summary.results.get(combo.ordinal)
    if form == "pylock":
        sys.stdout.write(_lock(directory, combo))
    elif result is None or not result.locked:
        raise UsageProblem(given.what, "it had no environment", f"see 'pytest-spip show {combo.id}'")
    else:
        sys.stdout.write(requirements(result))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("export", "One environment, or the failing combinations of a run, for other tools.")
    add_what(made, "a combination, or a run (the newest)")
    made.add_argument("--as", dest="form", choices=(*ONE, *MANY), help=FORMS)
    add_rootdir(made)
    return made


def _lock(directory: RunDirectory, combo: Combo) -> str:
    path: Path = directory.locks / combo.lock_name
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageProblem(combo.id, "it has no lock", f"see 'pytest-spip show {combo.id}'") from error
