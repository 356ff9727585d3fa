"""The HTML report: one file that needs no network, with a run's data packed inside. Pure.

All that comes from packages reaches the page in two ways only: through the template, which escapes, and as packed data, which
the script shows as text. A content security policy that names the hashes of our script and style forbids anything else.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any

from pytest_spip.common.plural import plural
from pytest_spip.model import Combo, HostSample, Outcome, Span, Summary
from pytest_spip.report import terminal
from pytest_spip.report.columns import detail_chunks, index_columns, ordered, readable
from pytest_spip.report.lanes import WAIT, timeline_columns
from pytest_spip.report.support_lines import declared_text, works_text, worth_showing

__all__ = ["render"]

SCRIPTS = ("data", "state", "rows", "grid", "details", "groups", "timeline", "main")
NAMED = 3
"""Packages that the title names."""
SUPPORTED = 100
"""Packages of which the page says what works."""
LISTED = 20
"""Groups of failures that are listed where no script runs."""


def render(
    summary: Summary,
    *,
    lock: Callable[[Combo], str] | None = None,
    spans: Iterable[Span] = (),
    provisioning: Iterable[Span] = (),
    host: Sequence[HostSample] = (),
) -> str:
    """Return the page. ``lock`` returns the text of a combination's lock file, or nothing.

    ``spans`` are those of each worker in the order of its time, ``provisioning`` those of the controller. Equal records give
    equal pages.
    """
    places = {combo.ordinal: place for place, combo in enumerate(ordered(summary))}
    ran, provisioned = list(spans), list(provisioning)
    timeline = timeline_columns(ran, provisioned, host, places=places)
    chunks = detail_chunks(summary, lock or _no_lock, _spent([*provisioned, *ran]))
    blocks = {
        "index": pack(index_columns(summary)),
        "timeline": pack(timeline),
        **{f"details-{number}": pack(chunk) for number, chunk in enumerate(chunks)},
    }
    style, script = _style(), _script()
    text = _template().render(
        policy=policy(script, style),
        script=_trusted(script),
        style=_trusted(style),
        title=readable(_title(summary)),
        facts=_facts(summary),
        run=_run(summary),
        limits=[readable(line) for line in terminal.closing_lines(summary)],
        warnings=[readable("".join(text for text, _ in line)) for line in terminal.warning_lines(summary)],
        workers=_workers(summary),
        counts=[(outcome.value, summary.counts.get(outcome, 0)) for outcome in Outcome],
        support=_support(summary),
        groups=[(group.count, readable(group.signature)) for group in summary.groups[:LISTED]],
        blocks=blocks,
    )
    return str(text).encode("utf-8", "replace").decode()


def _spent(spans: Iterable[Span]) -> dict[int, dict[str, float]]:
    """Return the seconds of each combination by phase; waiting is nobody's."""
    spent: dict[int, dict[str, float]] = {}
    for span in spans:
        if span.ordinal is not None and span.phase != WAIT:
            phases = spent.setdefault(span.ordinal, {})
            phases[span.phase] = phases.get(span.phase, 0.0) + span.seconds
    return spent


def _no_lock(_: Combo) -> str:
    return ""


def pack(plain: Any) -> str:
    """Return plain data as base64 of compressed JSON, equal for equal data."""
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()


def policy(script: str, style: str) -> str:
    """Return the content security policy of a page with this script and this style, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _asset(name: str) -> str:
    return (files("pytest_spip.report") / "page" / name).read_text("utf-8")


def _script() -> str:
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _style() -> str:
    return _asset("page.css")


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined  # as late as the first report: a session without one needs none

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        _asset("page.html")
    )


def _trusted(text: str) -> Any:
    """Return our own script or style as what the template leaves as it is."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  # our own assets; what packages say never passes here


def _title(summary: Summary) -> str:
    packages = list(dict.fromkeys(combo.packages for combo in summary.combos))
    more = f" and {len(packages) - NAMED} more" if len(packages) > NAMED else ""
    return (", ".join(packages[:NAMED]) or "no package") + more


def _facts(summary: Summary) -> list[str]:
    """Return what stands below the title."""
    facts = summary.facts
    releases = {combo.releases for combo in summary.combos}
    return [
        facts.started.replace("T", " ").replace("Z", " UTC"),
        _grouped(plural(len(summary.results), "combination")),
        f"{_grouped(plural(len(releases), 'release'))} x {plural(len(summary.interpreters), 'Python')}",
        f"check: {facts.check}",
        f"{summary.seconds:.1f} s, {summary.per_second:.1f} a second",
        f"CPU {summary.cpu:.0%}",
        *([f"{summary.missing} not run"] if summary.missing else []),
    ]


def _grouped(text: str) -> str:
    """Return a text with the digits of its numbers in groups of three, as the page's script writes them."""
    return re.sub(r"\d{4,}", lambda found: f"{int(found[0]):,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), text)


def _run(summary: Summary) -> list[tuple[str, str]]:
    """Return the facts of the run, by name."""
    facts = summary.facts
    pairs = [
        ("run", facts.uuid),
        ("command", facts.command),
        ("started", facts.started),
        ("finished", facts.finished or "not finished"),
        ("index as of", facts.exclude_newer),
        ("indexes", ", ".join(facts.indexes)),
        ("hosts", ", ".join(facts.hosts)),
        ("sandbox", facts.sandbox_summary),
        ("runner", facts.runner),
        ("environments in", facts.ram),
        ("sessions", str(facts.sessions)),
        *(("Python", f"{one.label}: {one.implementation} {one.version} {one.path}") for one in summary.interpreters),
        *(("note", note) for note in facts.notes),
    ]
    return [(name, readable(value)) for name, value in pairs if value]


def _support(summary: Summary) -> list[dict[str, Any]]:
    """Return what of each package works where, as texts; not more packages than one reads."""
    return [
        {
            "package": readable(one.package),
            "declared": readable(declared_text(one)),
            "works": [
                (
                    each.pythons or "every Python",
                    readable(works_text(each)),
                    readable(each.failing_choice),
                )
                for each in one.pythons
            ],
            "findings": [readable(text) for text in one.findings],
            "requirement": readable(one.suggestion),
            "tested": readable(one.tested),
        }
        for one in worth_showing(summary.support)[:SUPPORTED]
    ]


def _workers(summary: Summary) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the kinds of time, and for each worker its name and the seconds of each kind."""
    kinds = list(dict.fromkeys(kind for times in summary.workers.values() for kind in times))
    rows = [(worker, [f"{times.get(kind, 0.0):.1f}" for kind in kinds]) for worker, times in summary.workers.items()]
    return kinds, rows
