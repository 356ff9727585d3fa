"""One line that shows a failure again, for a person with a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_spip.model import Check, Combo, Environment
from pytest_spip.nodeids import label_to_python

__all__ = ["reproduction", "reproduction_of_test"]


def reproduction(
    combo: Combo,
    environment: Environment | None,
    check: Check,
    python: str,
    *,
    beside: Sequence[str] = (),
    project: str = "",
    exclude_newer: str = "",
    index_options: str = "",
) -> str:
    """Return a command of uv's, which needs nothing of ours; for a release's own suite, whose tests we keep, one of pytest's.

    ``beside`` are the requirements of every environment, ``project`` the directory whose suite was run, ``python`` the
    interpreter's path.
    """
    if check.kind == "suite" and not project:
        return _own_suite(combo, check, beside, exclude_newer)
    words = ["uv", "run", "--isolated", "--no-project", "--python", python]
    words += ["--directory", project] if project else []
    words += [word for requirement in (*combo.requirements, *beside) for word in ("--with", requirement)]
    words += ["--resolution", combo.resolution] if combo.resolution else []
    words += ["--exclude-newer", exclude_newer] if exclude_newer else []
    options = f" {index_options}" if index_options else ""
    return f"{shlex.join(words)}{options} {shlex.join(_tried(combo, environment, check))}"


def reproduction_of_test(combo: Combo, nodeid: str, *, beside: Sequence[str], project: str, exclude_newer: str) -> str:
    """Return a command of pytest's that runs a test function's item again; all else is as with :func:`reproduction`."""
    words = ["pytest", *(f"--spip-matrix={requirement}" for requirement in combo.requirements)]
    words += ["--spip-cross"] if combo.others else []
    words += [f"--spip-python={label_to_python(combo.label)}"]
    words += [f"--spip-resolution={combo.resolution}"] if combo.resolution else []
    words += [f"--spip-project={project}"] if project else []
    words += _circumstances(() if project else beside, exclude_newer)
    return shlex.join([*words, "--spip-check=none", nodeid])


def _own_suite(combo: Combo, check: Check, beside: Sequence[str], exclude_newer: str) -> str:
    words = ["pytest", combo.nodeid, "--spip-check=suite", "-v"]
    words += [f"--spip-command={shlex.join(check.words)}"] if check.words else []
    return shlex.join([*words, *_circumstances(beside, exclude_newer)])


def _circumstances(beside: Sequence[str], exclude_newer: str) -> list[str]:
    """Return our options for what all environments hold, and as of when."""
    told = [f"--spip-with={requirement}" for requirement in beside]
    return [*told, f"--spip-exclude-newer={exclude_newer}"] if exclude_newer else told


def _tried(combo: Combo, environment: Environment | None, check: Check) -> Sequence[str]:
    """Return the command that does what the check did."""
    if check.kind != "import":
        suite = environment.suite if environment else ()
        return ("pytest", *suite, *check.words) if check.kind == "suite" else check.words
    known = {wheel.name: wheel.modules for wheel in environment.wheels} if environment else {}
    modules = [module for package, _ in combo.releases for module in known.get(package, ())]
    return ("python", "-c", f"import {', '.join(modules)}" if modules else "pass")
