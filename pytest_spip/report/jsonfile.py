"""The JSON report, schema 1. Keys may be added, never renamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_spip.common.trees import rewriting
from pytest_spip.model import (
    ChangeKind,
    Combo,
    Comparison,
    Group,
    Interpreter,
    Outcome,
    Result,
    Summary,
    Support,
    Test,
    counts,
)
from pytest_spip.report.bisection import bisect_document
from pytest_spip.report.grid import HIGHEST
from pytest_spip.report.ranges import affected_text

__all__ = ["SCHEMA", "as_document", "combination_document", "comparison_document", "write"]

SCHEMA = 1


def write(summary: Summary, path: Path) -> None:
    """Write the report. Raises ``OSError``."""
    with rewriting(path) as stream:
        for text in _texts(summary):
            # The command line may hold a file's name that is not UTF-8.
            stream.write(text.encode("utf-8", "replace").decode())


def _texts(summary: Summary) -> Iterator[str]:
    """Yield the report in pieces, laid out as ``json.dumps`` does it: as a whole, a large one takes half a gigabyte."""
    encoder = json.JSONEncoder(indent=1, ensure_ascii=False)
    opened = "{"
    for name, value in _parts(summary):
        yield f'{opened}\n "{name}": '
        if isinstance(value, Iterator):
            yield from _list_texts(encoder, value)
        else:
            yield _shifted(encoder.encode(value), 1)
        opened = ","
    yield "\n}\n"


def _list_texts(encoder: json.JSONEncoder, values: Iterator[object]) -> Iterator[str]:
    opened = "["
    for value in values:
        yield f"{opened}\n  {_shifted(encoder.encode(value), 2)}"
        opened = ","
    yield "[]" if opened == "[" else "\n ]"


def _shifted(text: str, spaces: int) -> str:
    """Move all lines but the first to the right; strings have no line breaks in JSON."""
    return text.replace("\n", "\n" + spaces * " ")


def as_document(summary: Summary) -> dict[str, Any]:
    """Return the report as plain data."""
    return {name: list(value) if isinstance(value, Iterator) else value for name, value in _parts(summary)}


def combination_document(summary: Summary, combo: Combo) -> dict[str, Any]:
    """Return what the report says of one combination; that is its id where it has no verdict."""
    return next(_combinations(summary, (combo,)), {"id": combo.id})


def _combinations(summary: Summary, combos: Iterable[Combo]) -> Iterator[dict[str, Any]]:
    pythons = {one.id: one for one in summary.interpreters}
    for combo in combos:
        if result := summary.results.get(combo.ordinal):
            yield _combination(combo, result, pythons)


def _parts(summary: Summary) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the report's parts; the combinations are an iterator."""
    yield "schema", SCHEMA
    yield "run", summary.facts.to_plain()
    yield "interpreters", [{"id": one.id, "label": one.label, "path": one.path} for one in summary.interpreters]
    yield "combinations", _combinations(summary, summary.combos)
    yield "summary", _summary(summary)
    yield "disagreements", _disagreements(summary)
    yield "groups", [_group(group) for group in summary.groups]
    yield "packages", [_package(one) for one in summary.support]
    if summary.bisect:
        yield "bisect", bisect_document(summary.bisect)
    if summary.comparison:
        yield "comparison", comparison_document(summary.comparison)


def _disagreements(summary: Summary) -> list[dict[str, str]]:
    if not summary.disagreements:
        return []
    ids = {combo.ordinal: combo.id for combo in summary.combos}
    return [{"id": ids[event.ordinal], "warm": event.warm, "cold": event.cold} for event in summary.disagreements]


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data: ids by kind, and the tests that newly fail or pass, by id."""
    return {
        "base": comparison.base,
        **{kind.value: [change.id for change in comparison.of(kind)] for kind in ChangeKind},
        "newly_failing": {one.id: list(one.newly_failing) for one in comparison.changes if one.newly_failing},
        "other_versions": {
            one.id: {change.name: [change.before, change.after] for change in one.locked}
            for one in comparison.changes
            if one.locked and one.kind in (ChangeKind.REGRESSED, ChangeKind.FIXED)
        },
        "newly_passing": {one.id: list(one.newly_passing) for one in comparison.changes if one.newly_passing},
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "signature": group.signature,
        "count": group.count,
        "examples": list(group.ids[:5]),
        "environment": group.is_environment,
        "affected": [
            {
                "package": one.package,
                "first": one.first,
                "last": one.last,
                "releases": one.count,
                "pythons": one.pythons or "every",
                **({"others": [list(pair) for pair in one.others]} if one.others else {}),
                **({"resolutions": list(one.resolutions)} if one.resolutions else {}),
                "text": affected_text(one),
            }
            for one in group.affected
        ],
        "first_bad": next(({"bad": one.bad, "good": one.good} for one in group.boundaries if one.begins), None),
        "last_bad": next(({"bad": one.bad, "good": one.good} for one in group.boundaries if not one.begins), None),
        "likely": group.likely or None,
    }


def _package(one: Support) -> dict[str, Any]:
    return {
        "package": one.package,
        "releases": one.releases,
        "newest": one.newest,
        "requires_python": one.requires_python,
        "classifiers": list(one.classifiers),
        "declared": one.declared or None,
        "pythons": [
            {
                "labels": list(each.labels),
                "works_from": each.works_from or None,
                "works_until": each.works_until or None,
                "broken_from": each.broken_from or None,
                "oldest_passing": each.oldest or None,
                "failing_choice": each.failing_choice or None,
            }
            for each in one.pythons
        ],
        "findings": list(one.findings),
        "requirement": one.suggestion or None,
        "tested": one.tested or None,
    }


def _combination(combo: Combo, result: Result, pythons: Mapping[str, Interpreter]) -> dict[str, Any]:
    verdict = result.verdict
    return {
        "id": combo.id,
        "package": combo.package,
        "version": combo.version,
        **(
            {"others": [dict(zip(("package", "version"), one, strict=True)) for one in combo.others]}
            if combo.others
            else {}
        ),
        "resolution": combo.resolution or HIGHEST,
        "python": pythons[combo.interpreter].python if combo.interpreter in pythons else "",
        "interpreter": combo.interpreter,
        "outcome": verdict.outcome.value,
        "phase": verdict.phase.value,
        "reason": verdict.reason.value if verdict.reason else None,
        "detail": verdict.detail,
        "fingerprint": result.fingerprint,
        "seconds": round(result.seconds, 6),
        "cpu_seconds": round(result.cpu_seconds, 6),
        "peak_rss": result.peak_rss,
        "attempts": result.attempts,
        **({"reruns": result.reruns, "flaky": result.is_flaky} if result.reruns else {}),
        "reused": result.reused,
        "runner": result.runner,
        "worker": result.worker,
        "host": result.host,
        "locked": dict(result.locked),
        "warnings": list(result.warnings),
        "reproduce": result.reproduce,
        "output": result.output,
        **({"counts": counts(result.tests), "tests": [_test(test) for test in result.tests]} if result.tests else {}),
    }


def _test(test: Test) -> dict[str, Any]:
    plain = {"id": test.id, "outcome": test.outcome, "seconds": round(test.seconds, 6), "detail": test.detail}
    return {**plain, "reruns": test.reruns} if test.reruns else plain


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "planned": len(summary.selected),
        **{outcome.value: summary.counts.get(outcome, 0) for outcome in Outcome},
        "import_only": summary.import_only,
        "reused": summary.reused,
        "seconds": round(summary.seconds, 3),
        "per_second": round(summary.per_second, 2),
        "cpu_utilisation": round(summary.cpu, 4),
        "iowait": round(summary.iowait, 4),
        "phases": _rounded(summary.phases),
        "work": {what: summary.work.get(what, 0) for what in ("resolved", "downloaded", "built", "filed")},
        "workers": {worker: _rounded(times) for worker, times in summary.workers.items()},
        "controller": {"cpu_seconds_per_verdict": round(summary.controller, 6)},
        "limits": list(summary.limits),
        "untold": dict(summary.untold),
        "not_run": [combo.id for combo in summary.undone],
    }


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(each, 4) for name, each in seconds.items()}
