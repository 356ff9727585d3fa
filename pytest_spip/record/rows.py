"""How the model's records lie in the tables of ``run.sqlite``."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_spip.model import (
    Combo,
    Environment,
    Interpreter,
    Provisioned,
    Ready,
    Refused,
    Release,
    Result,
    StoredWheel,
    Test,
    Verdict,
    verdict_from_plain,
    verdict_to_plain,
)

__all__ = [
    "combo",
    "combo_row",
    "encodable",
    "interpreter",
    "interpreter_row",
    "ledger_row",
    "others",
    "provisioned",
    "provisioned_row",
    "release_row",
    "result",
]

NOTHING: Mapping[str, Any] = {}
"""What is not known of many results: one for all."""


def interpreter_row(interpreter: Interpreter) -> tuple[str, ...]:
    """Return an interpreter as the table ``interpreter`` has it."""
    return interpreter.id, interpreter.label, interpreter.path, json.dumps(dataclasses.asdict(interpreter))


def interpreter(plain: Mapping[str, Any]) -> Interpreter:
    """Rebuild an interpreter from its facts."""
    lists = {key: tuple(plain[key]) for key in ("abis", "platforms")}
    return Interpreter(**{**plain, **lists, "markers": tuple((key, value) for key, value in plain["markers"])})


def release_row(release: Release) -> tuple[str, str, str, int]:
    """Return a release as the table ``release`` has it; its files differ in the Pythons that they admit, if at all, by mistake."""
    python = next((file.requires_python for file in release.files if file.requires_python), "")
    return release.package, release.version, python, int(release.yanked)


def combo_row(combo: Combo) -> tuple[Any, ...]:
    """Return a combination as the table ``plan`` has it."""
    return (
        combo.ordinal,
        combo.id,
        combo.package,
        combo.version,
        combo.interpreter,
        combo.label,
        _tuples_text(combo.extras),
        _verdict_text(combo.plan_verdict) if combo.plan_verdict else None,
        _tuples_text((combo.others, combo.others_extras)) if combo.others else "",
        combo.resolution,
        " ".join(combo.exact),
    )


# Few different ones stand in a hundred thousand rows.


@functools.lru_cache(maxsize=256)
def _tuples_text(tuples: tuple[object, ...]) -> str:
    return json.dumps(tuples)


@functools.lru_cache(maxsize=256)
def _verdict_text(verdict: Verdict) -> str:
    return json.dumps(verdict_to_plain(verdict))


def combo(row: Sequence[Any]) -> Combo:
    """Rebuild a combination."""
    ordinal, package, version, interpreter, label, extras, verdict, others_text, resolution, exact = row
    plan_verdict = verdict_from_plain(json.loads(verdict)) if verdict else None
    own = tuple(json.loads(extras))
    return Combo(
        ordinal,
        package,
        version,
        interpreter,
        label,
        own,
        plan_verdict,
        *others(others_text),
        resolution,
        tuple(exact.split()),
    )


@functools.lru_cache(maxsize=256)
def others(others_text: str) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, ...], ...]]:
    """Rebuild the other releases of a cross, as pairs of package and version, and the extras of each; empty without a cross."""
    releases, extras = json.loads(others_text) if others_text else ((), ())
    return tuple((package, version) for package, version in releases), tuple(map(tuple, extras))


def provisioned_row(done: Provisioned) -> tuple[Any, ...]:
    """Return what provisioning made of a combination as the table ``provision`` has it."""
    match done:
        case Ready(ordinal, environment):
            return ordinal, _environment_text(environment), None, ""
        case Refused(ordinal, verdict, output):
            return ordinal, None, _verdict_text(verdict), encodable(output)


def _environment_text(environment: Environment) -> str:
    wheels = [{name: getattr(wheel, name) for name in wheel.__slots__} for wheel in environment.wheels]
    return json.dumps(
        {
            "wheels": wheels,
            "fingerprint": environment.fingerprint,
            "lock": environment.lock,
            "tree": environment.tree,
            "suite": environment.suite,
            "place": environment.place,
            "warnings": environment.warnings,
            "replaces": environment.replaces,
        }
    )


def provisioned(ordinal: int, environment: str | None, verdict: str | None, output: str) -> Provisioned:
    """Rebuild what provisioning made of a combination; its phases and work are telemetry."""
    if environment is not None:
        return Ready(ordinal, _environment(json.loads(environment)))
    assert verdict is not None, "a row has an environment or a verdict"
    return Refused(ordinal, verdict_from_plain(json.loads(verdict)), output)


def _environment(plain: Mapping[str, Any]) -> Environment:
    wheels = tuple(_wheel(wheel) for wheel in plain["wheels"])
    lists = {name: tuple(plain.get(name, ())) for name in ("suite", "warnings")}
    return Environment(**{**plain, **lists, "wheels": wheels})


def _wheel(plain: Mapping[str, Any]) -> StoredWheel:
    lists = {name: tuple(plain.get(name, ())) for name in ("modules", "warnings")}
    libraries = tuple((name, tuple(modules)) for name, modules in plain.get("libraries", ()))
    return StoredWheel(**{**plain, **lists, "libraries": libraries})


def ledger_row(result: Result) -> tuple[Any, ...]:
    """Return a result as the table ``ledger`` has it, without session."""
    verdict = [text and encodable(text) for text in verdict_to_plain(result.verdict)]
    numbers = result.seconds, result.cpu_seconds, result.peak_rss, result.attempts, result.reruns, result.reused
    texts = (
        result.runner,
        result.worker,
        result.host,
        result.fingerprint,
        json.dumps(dict(result.locked)),
        encodable(result.reproduce),
        encodable(result.output),
        encodable(json.dumps(result.tests, ensure_ascii=False)) if result.tests else "[]",
        encodable(json.dumps(result.warnings, ensure_ascii=False)) if result.warnings else "[]",
    )
    return result.ordinal, *verdict, *numbers, *texts, time.time()


def encodable(text: str) -> str:
    """Replace what UTF-8 cannot say, such as parts of a file's name that is not UTF-8: SQLite refuses it."""
    return text.encode("utf-8", "replace").decode()


def result(row: Sequence[Any]) -> Result:
    """Rebuild a result; its phases are telemetry. What many results of a run have in common is in memory once."""
    ordinal, outcome, phase, reason, detail = row[:5]
    numbers = ("seconds", "cpu_seconds", "peak_rss", "attempts", "reruns", "reused")
    names = (*numbers, "runner", "worker", "host", "fingerprint", "locked", "reproduce", "output", "tests", "warnings")
    values = dict(zip(names, row[5:20], strict=True))
    values["reused"] = bool(values["reused"])
    values["locked"] = json.loads(values["locked"]) if values["locked"] != "{}" else NOTHING
    values["tests"] = tuple(Test(*test) for test in json.loads(values["tests"]))
    values["warnings"] = tuple(json.loads(values["warnings"]))
    for name in ("runner", "worker", "host"):
        values[name] = sys.intern(values[name])
    verdict = verdict_from_plain((outcome, phase, reason, sys.intern(detail)))
    return Result(ordinal, verdict, phases=NOTHING, **values)
