"""What of each package works where, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_spip.model import PythonSupport, Support
from pytest_spip.report.ranges import ELLIPSIS

__all__ = ["declared_text", "support_lines", "works_text", "worth_showing"]

Line = list[tuple[str, str]]
PACKAGES = 10
"""Packages that are printed."""


def support_lines(supports: Sequence[Support]) -> Iterator[Line]:
    """Yield, for packages with several releases, what works where, what is declared otherwise, and a requirement."""
    shown = worth_showing(supports)
    for one in shown[:PACKAGES]:
        yield [(one.package, "bold"), (f"  {declared_text(one)}", "dim")]
        for each in one.pythons:
            yield [("    ", ""), (f"{each.pythons or 'every Python'}: ", ""), (works_text(each), "")]
            if each.failing_choice:
                yield [("    ", ""), (f"an installer takes {each.failing_choice} there, which fails", "red")]
        yield from ([("    ", ""), (finding, "yellow")] for finding in one.findings)
        if one.suggestion:
            yield [("    requirement: ", ""), (one.suggestion, "bold"), (f"  (tested: {one.tested})", "dim")]
    if len(shown) > PACKAGES:
        yield [(f"… {len(shown) - PACKAGES} more packages; --spip-report=json:PATH has all of them", "dim")]


def worth_showing(supports: Sequence[Support]) -> list[Support]:
    """Return those of several releases, or with anything wrong; these come first."""
    wrong = [one for one in supports if _is_wrong(one)]
    return wrong + [one for one in supports if one.releases > 1 and not _is_wrong(one)]


def _is_wrong(one: Support) -> bool:
    return bool(one.findings) or any(each.failing_choice for each in one.pythons)


def declared_text(one: Support) -> str:
    """Return what a package, or the project under test, declares; nothing where it declares nothing."""
    parts = [f"the project requires {one.declared}"] if one.declared else []
    parts += [f"{one.newest} requires Python {one.requires_python}"] if one.requires_python else []
    named = [text for text in one.classifiers if text.startswith("3.")]
    parts += [f"names {named[0]} to {named[-1]}" if len(named) > 2 else f"names {', '.join(named)}"] if named else []
    return ", ".join(parts)


def works_text(one: PythonSupport) -> str:
    """Return which releases pass on some Pythons."""
    if not one.oldest:
        return "no release passes"
    text = f"{one.works_from} passes"
    if one.works_until != one.works_from:
        text = f"{one.works_from} {ELLIPSIS} {one.works_until} pass"
    text += f", {one.broken_from} fails" if one.broken_from else ""
    return text + (f"; the oldest that passes is {one.oldest}" if one.oldest != one.works_from else "")
