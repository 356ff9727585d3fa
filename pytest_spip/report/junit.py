"""JUnit's XML: each combination is a suite, and each test that ran in it a case. Pure.

The form is the one that pytest writes and CI reads. pytest's own ``--junitxml`` has one case for each combination.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_spip.model import Combo, Outcome, Reason, Result, Summary, Test
from pytest_spip.report.properties import TEST_FAILED, properties
from pytest_spip.report.texts import TAIL, failure_text, one_line

__all__ = ["junit"]

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write (section 2.2)."""
COUNTED = {"failure": "failures", "error": "errors", "skipped": "skipped"}
"""By a case's element, the attribute of suites that counts them."""
TESTS = {"failed": "failure", "error": "error", "skipped": "skipped", "xfailed": "skipped"}
"""By a test's outcome, the element of its case; others have none."""
OUTCOMES = {Outcome.PASSED: "", Outcome.SKIPPED: "skipped", Outcome.ERROR: "error"}
"""By a combination's outcome, the element of its case; that of others is a failure."""


class Case(NamedTuple):
    """A case; ``element`` says what became of it, empty for a pass."""

    classname: str
    name: str
    seconds: float
    element: str = ""
    message: str = ""
    text: str = ""


def junit(summary: Summary) -> str:
    """Return the document; combinations that were left out are not in it."""
    suites = [
        (combo, result, list(_cases(combo, result)))
        for combo in summary.combos
        if combo.ordinal in summary.selected
        for result in [summary.results.get(combo.ordinal)]
    ]
    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    every = [case for _, _, cases in suites for case in cases]
    lines.append(f"<testsuites{_attributes(name='pytest-spip', **_counts(every, summary.seconds))}>")
    for combo, result, cases in suites:
        seconds = result.seconds if result else 0.0
        where = {"timestamp": summary.facts.started, "hostname": result.host if result else ""}
        lines.append(f"<testsuite{_attributes(name=combo.id, **_counts(cases, seconds), **where)}>")
        lines += _properties(result) if result else ()
        lines += map(_case, cases)
        lines.append("</testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _cases(combo: Combo, result: Result | None) -> Iterator[Case]:
    """Yield a case for each test, and one for the combination itself where the tests do not say what became of it."""
    own = f"spip.{combo.package}", combo.id
    if result is None:
        yield Case(*own, 0.0, "error", "it was not run")
        return
    verdict = result.verdict
    if not result.tests or verdict.reason not in (None, Reason.TEST_FAILED):
        element = OUTCOMES.get(verdict.outcome, "failure")
        message = one_line(result) if element else ""
        yield Case(*own, result.seconds, element, message, failure_text(result, lines=TAIL) if element else "")
    for test in result.tests:
        yield _of_test(combo, test)


def _of_test(combo: Combo, test: Test) -> Case:
    """Return a test's case, named as pytest names one, below its combination: else CI takes equal names for one test."""
    before, bracket, parameters = test.id.partition("[")
    *places, name = before.split("::")
    if places:
        places[0] = places[0].removesuffix(".py").replace("/", ".")
    element = TESTS.get(test.outcome, "")
    kind = f"{test.outcome}: {test.headline}" if test.outcome == "xfailed" else test.headline
    return Case(".".join([combo.id, *places]), f"{name}{bracket}{parameters}", test.seconds, element, kind, test.detail)


def _case(case: Case) -> str:
    known = _attributes(classname=case.classname, name=case.name, time=f"{case.seconds:.3f}")
    if not case.element:
        return f"<testcase{known}/>"
    text = f">{_text(case.text)}</{case.element}>" if case.text else "/>"
    return f"<testcase{known}><{case.element}{_attributes(message=case.message)}{text}</testcase>"


def _properties(result: Result) -> Iterator[str]:
    yield "<properties>"
    for name, value in properties(result):
        if name != TEST_FAILED:  # they are cases here
            yield f"<property{_attributes(name=name, value=str(value))}/>"
    yield "</properties>"


def _counts(cases: Iterable[Case], seconds: float) -> dict[str, str]:
    cases = list(cases)
    found = Counter(case.element for case in cases)
    counts = {attribute: str(found[element]) for element, attribute in COUNTED.items()}
    return {"tests": str(len(cases)), **counts, "time": f"{seconds:.3f}"}


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{_attribute(value)}"' for name, value in values.items())


def _attribute(text: str) -> str:
    """Return a text as an attribute's value, in which a parser would make spaces of line ends."""
    return _text(text).replace("\n", "&#10;").replace("\t", "&#9;")


def _text(text: str) -> str:
    """Return a text as XML: what it cannot say stands as its number, as pytest writes it."""
    return html.escape(ILLEGAL.sub(lambda found: f"#x{ord(found[0]):02X}", text)).replace("\r", "&#13;")
