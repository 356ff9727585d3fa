"""Which of a run's interpreters do not start inside of its sandbox: found before any package code runs."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Mapping, Sequence

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import replace_text
from pytest_spip.model import Combo, Interpreter, Outcome, Phase, Reason, Sandbox, Verdict, digest
from pytest_spip.run.levels import OUTSIDE, try_interpreter
from pytest_spip.run.server import CHILD

__all__ = ["find_unconfined", "without_unconfined"]

_CODE = ("sandbox.py", "view.py", "environment.py", "landlock.py", "serving.py", "child_main.py")
"""What decides on the places that an interpreter sees."""


def find_unconfined(interpreters: Sequence[Interpreter], sandbox: Sandbox, cache: Cache) -> dict[str, str]:
    """Return, by id, why interpreters cannot be used in a sandbox. That one can is cached until its program changes."""
    known = [one for one in interpreters if one.path] if sandbox.level >= 2 else []
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        whys = pool.map(lambda one: _why(one, sandbox, cache), known)
        return {
            one.id: f"{one.path} does not start inside of the sandbox (level {sandbox.level}): {why}; {OUTSIDE}"
            for one, why in zip(known, whys, strict=True)
            if why
        }


def _why(interpreter: Interpreter, sandbox: Sandbox, cache: Cache) -> str:
    state = os.stat(interpreter.path)
    code = [(CHILD / name).read_text("utf-8") for name in _CODE]
    key = digest(interpreter.path, state.st_mtime_ns, state.st_size, sandbox.level, sandbox.network, code)
    kept = cache.interpreters / f"confined-{key[:32]}"
    if kept.exists():
        return ""
    why = try_interpreter(interpreter.path, sandbox.level, network=sandbox.network)
    if not why:
        replace_text(kept, "")
    return why


def without_unconfined(combos: Sequence[Combo], refused: Mapping[str, str]) -> list[Combo]:
    """Return the combinations with a verdict for those of interpreters that are ``refused``, as far as they have none."""
    return [
        dataclasses.replace(
            combo, plan_verdict=Verdict(Outcome.ERROR, Phase.PLAN, Reason.SANDBOX, refused[combo.interpreter])
        )
        if combo.interpreter in refused and not combo.plan_verdict
        else combo
        for combo in combos
    ]
