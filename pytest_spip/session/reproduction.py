"""One line that shows a failure again, for a person with a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_spip.common.nodeids import label_to_python
from pytest_spip.model import Check, Combo, Environment
from pytest_spip.session.worker_spec import WorkerSpec

__all__ = ["is_free", "reproduction", "reproduction_of_test"]

_PYTHON = "--spip-python="


def reproduction(
    combo: Combo, environment: Environment | None, python: str, spec: WorkerSpec, *, outside: bool, bound: bool
) -> str:
    """Return a command of uv's, which needs nothing of ours; or one of pytest's, for what uv cannot do as it was done.

    ``python`` is the interpreter's path. ``outside`` says whether uv knows all that the run resolved with, ``bound`` whether
    limits or the sandbox made it fail. Suites see a tree and what lies over it, and ``lowest-direct`` lowers what no command
    line names: both are for us to repeat.
    """
    check = spec.check
    if check.kind == "suite" or spec.project or not outside or bound or combo.resolution == "lowest-direct":
        return _our_line(combo, check, spec.ours)
    words = ["uv", "run", "--isolated", "--no-project", "--python", python]
    words += [word for text in (*combo.requirements, *spec.extra_requirements) for word in ("--with", text)]
    words += ["--resolution", combo.resolution] if combo.resolution else []
    words += ["--exclude-newer", spec.exclude_newer] if spec.exclude_newer else []
    options = f" {spec.index_options}" if spec.index_options else ""
    return f"{shlex.join(words)}{options} {shlex.join(_tried(combo, environment, check))}"


def reproduction_of_test(combo: Combo, nodeid: str, spec: WorkerSpec) -> str:
    """Return a command of pytest's that runs a test function's item again."""
    paths = [word for word in spec.ours if word.startswith(_PYTHON)]
    words = ["pytest", *(word for word in _matrix(combo) if not (paths and word.startswith(_PYTHON))), *paths]
    words += [f"--spip-project={spec.project}"] if spec.project else []
    words += [f"--spip-with={requirement}" for requirement in (() if spec.project else spec.extra_requirements)]
    words += [f"--spip-exclude-newer={spec.exclude_newer}"] if spec.exclude_newer else []
    return shlex.join([*words, "--spip-check=none", nodeid])


def _our_line(combo: Combo, check: Check, ours: Sequence[str]) -> str:
    named = any((combo.extras, *combo.others_extras))
    paths = any(word.startswith(_PYTHON) for word in ours)
    matrix = [word for word in _matrix(combo) if not (paths and word.startswith(_PYTHON))] if named else []
    kind = [] if check.kind == "import" else [f"--spip-check={check.kind}"]
    return shlex.join(["pytest", combo.nodeid, *matrix, *kind, *ours, "-v"])


def _matrix(combo: Combo) -> list[str]:
    """Return the options whose matrix is a combination alone."""
    words = [f"--spip-matrix={requirement}" for requirement in combo.requirements]
    words += ["--spip-cross"] if combo.others else []
    words += [f"{_PYTHON}{label_to_python(combo.label)}"]
    return [*words, *([f"--spip-resolution={combo.resolution}"] if combo.resolution else [])]


def _tried(combo: Combo, environment: Environment | None, check: Check) -> Sequence[str]:
    """Return the command that does what the check did."""
    if check.kind != "import":
        return check.words
    known = {wheel.name: wheel.modules for wheel in environment.wheels} if environment else {}
    modules = [module for package, _ in combo.releases for module in known.get(package, ())]
    return ("python", "-c", f"import {', '.join(modules)}" if modules else "pass")


def is_free(environment: Environment | None, limited: Sequence[str]) -> bool:
    """Return True if no project of an environment is among those that constraints name."""
    return not limited or (environment is not None and not environment.locked.keys() & set(limited))
