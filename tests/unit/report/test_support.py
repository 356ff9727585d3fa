"""What of a package works where, beside what it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_spip.model import Outcome, PackageMetadata, Reason, ReleaseFacts, Support
from pytest_spip.report.ranges import Cells
from pytest_spip.report.support import support
from pytest_spip.report.support_lines import support_lines, worth_showing
from tests.support.rooms import combo, plan, result
from tests.unit.report.test_triage import PYTHONS, drawn


def seen(
    rows: Mapping[str, str],
    labels: Sequence[str] = PYTHONS,
    *,
    facts: Sequence[ReleaseFacts] = (),
    classifiers: Sequence[str] = (),
    of: str = "",
    requires: str = "",
) -> Support:
    """Return what was seen of a drawn run.

    ``classifiers`` are ``of`` a release, the newest by default; ``requires`` is what a project requires of the package.
    """
    combos, results = drawn(rows, labels)
    cells = Cells(combos, plan(*combos).interpreters, {one.ordinal: one for one in results})
    project = PackageMetadata(requires=(requires, "other>=3")) if requires else None
    declared = PackageMetadata(tuple(classifiers), version=of or list(rows)[-1])
    (found,) = support(cells, facts, {"demo": declared}, project)
    return found


def text(found: Support) -> list[str]:
    """Return its lines as a person reads them."""
    return ["".join(word for word, _ in line) for line in support_lines([found])]


def test_works_from_a_release_on() -> None:
    """Old releases fail, newer ones pass: the oldest of these is named, and a requirement."""
    found = seen({"1": "FFFF", "2": "F.FF", "3": "....", "4": "...."})
    assert text(found)[1:] == [
        "    3.8, 3.10, 3.11: 3 … 4 pass",
        "    3.9: 2 … 4 pass",
        "    requirement: demo>=3  (tested: 3 … 4 on 3.8 to 3.11)",
    ]


def test_broken_from_a_release_on() -> None:
    """Where the newest fail, an upper bound is suggested, and what an installer would take is named."""
    found = seen({"1": "....", "2": "....", "3": "..FF", "4": "..FF"})
    assert text(found)[1:] == [
        "    <= 3.9: 1 … 4 pass",
        "    >= 3.10: 1 … 2 pass, 3 fails",
        "    an installer takes 4 there, which fails",
        "    requirement: demo>=1,<3  (tested: 1 … 2 on 3.8 to 3.11)",
    ]


@pytest.mark.parametrize(
    ("rows", "requirement"),
    [
        ({"1": "....", "2": "...F", "3": "....", "4": "...."}, "demo>=1,!=2"),
        ({"1": "....", "2": "FFFF", "3": "FFFF", "4": "...."}, "demo>=4"),
        ({"1": "....", "2": "F...", "3": "....", "4": "F..."}, "demo>=1,<4,!=2"),
        ({"1": "FFFF", "2": "----", "3": "...."}, "demo>=3"),
        ({"1": "....", "2": "EEEE", "3": "...."}, "demo>=1"),
        ({"1": "EEEE", "2": "...."}, "demo>=2"),
        ({"1": "FFFF", "2": "FFFF"}, ""),
        ({"1": "----", "2": "EEEE"}, ""),
        # ``<2`` admits no pre-release of 2, and nothing is ordered by a local version.
        ({"2rc1": "....", "2": "FFFF"}, "demo>=2rc1,<=2rc1"),
        ({"1": "FFFF", "2+cpu": "....", "3+cpu": "FFFF"}, "demo>=2,<3"),
        ({"1": "FFFF", "1+cpu": "...."}, ""),
        ({"1": "....", "1+cpu": "FFFF"}, ""),
        ({str(n): "...." if n % 2 else "FFFF" for n in range(1, 12)}, "demo>=5,!=6,!=8,!=10"),
    ],
)
def test_requirement(rows: Mapping[str, str], requirement: str) -> None:
    """A requirement admits releases that pass on all Pythons; what said nothing neither bounds nor is one of its ends."""
    assert seen(rows).suggestion == requirement


def test_what_an_installer_takes() -> None:
    """It is the newest release that is no pre-release, was not yanked, and admits the Python."""
    rows = {"1": "....", "2": "F...", "3": "-F..", "4": "FFFF", "5rc1": "FFFF"}
    found = seen(rows, facts=[ReleaseFacts("demo", "4", yanked=True)])
    chosen = {label: one.failing_choice for one in found.pythons for label in one.labels}
    assert chosen == {"py38": "2", "py39": "3", "py310": "", "py311": ""}
    only = seen({"1rc1": "....", "2rc1": "FFFF"})
    assert {one.failing_choice for one in only.pythons} == {"2rc1"}


def test_an_installer_takes_the_newest_dependencies() -> None:
    """What fails with the oldest dependencies alone is not what an installer makes."""
    combos = [combo(0), combo(1, resolution="lowest")]
    for bad, choice in ((0, "1.0"), (1, "")):
        results = {n: result(n, *((Outcome.FAILED, Reason.IMPORT_ERROR) if n == bad else ())) for n in (0, 1)}
        (found,) = support(Cells(combos, plan(*combos).interpreters, results), (), {})
        assert [one.failing_choice for one in found.pythons] == [choice]


def test_pythons_between_are_not_claimed() -> None:
    """Pythons that nobody tried are in no range of those that it was tested with."""
    assert seen({"1": ".."}, ("py38", "py313")).tested == "1 on 3.8, 3.13"


def test_pythons_of_which_nothing_is_known_are_left_out() -> None:
    """Where all was skipped or went wrong, nothing is claimed."""
    found = seen({"1": ".-E.", "2": ".-E."})
    assert [one.labels for one in found.pythons] == [("py38", "py311")]
    assert found.tested == "1 … 2 on 3.8, 3.11"


def test_classifiers() -> None:
    """What the newest release names and fails on, and what it passes on and does not name, are findings."""
    found = seen({"1": "....", "2": "F..."}, classifiers=("3", "3.8", "3.9", "3.10"))
    assert found.findings == (
        "2 fails on 3.8, which its classifiers name",
        "2 passes on 3.11 too, which no classifier names",
    )
    assert seen({"1": "...."}, classifiers=("3",)).findings == ()
    assert seen({"1": "....", "2": "F..."}, classifiers=("3.8",), of="1").findings == ()
    assert seen({"1": "...."}, classifiers=("3.8", "3.9", "3.10", "3.11")).findings == ()


@pytest.mark.parametrize(
    ("requires", "findings"),
    [
        ("demo>=1", ("the lower bound is too low: 1 fails", "an upper bound is needed: 5 … 6 (2) fail")),
        ("demo>=2,<5", ()),
        ("demo>=3,<5", ("the lower bound is higher than it need be: 2 passes",)),
        ("demo>=2,<4", ("the upper bound is lower than it need be: 4 passes",)),
        ("demo", ("the lower bound is too low: 1 fails", "an upper bound is needed: 5 … 6 (2) fail")),
        ("demo>=9", ()),
        ("demo>=2,<5; extra == 'more'", ()),
        ("Demo [x] >=2,<5", ()),
    ],
)
def test_bounds_of_a_project(requires: str, findings: tuple[str, ...]) -> None:
    """A project's bounds are judged by what passes: too low, too high, missing, needless."""
    rows = {"1": "FFFF", "2": "....", "3": "....", "4": "....", "5": "FFFF", "6": "FFFF"}
    assert seen(rows, requires=requires).findings == findings


def test_holes_in_a_requirement() -> None:
    """A release that fails between others that pass is named."""
    assert seen({"1": "....", "2": "FFFF", "3": "...."}, requires="demo>=1").findings == ("it admits 2, which fails",)


@pytest.mark.parametrize(
    ("rows", "requires", "findings"),
    [
        ({"1": "....", "2": "FFFF", "3": "...."}, "demo>=3", ()),
        ({"1": "....", "2": "FFFF", "3": "...."}, "demo<2", ()),
        ({"1": "....", "2": "...."}, "demo<2", ("the upper bound is needless: 2 passes",)),
        (
            {"1": "....", "2": "FFFF", "3": "FFFF", "4": "....", "5": "FFFF", "6": "...."},
            "demo",
            ("it admits 2 … 3 (2), 5, which fail",),
        ),
        (
            {str(n): "...." if n % 2 else "FFFF" for n in range(1, 14)},
            "demo",
            ("it admits 2, 4, 6, 8, … 2 more, which fail",),
        ),
        ({"1": "FFFF", "2": "...."}, "demo>=1; python_version < '3.8'", ()),
    ],
)
def test_findings_are_no_wider_than_what_was_seen(
    rows: Mapping[str, str], requires: str, findings: tuple[str, ...]
) -> None:
    """No bound is called too tight across a release that fails, no stretch holds one that passes, and markers make it depend."""
    assert seen(rows, requires=requires).findings == findings


def test_declared_text() -> None:
    """What the newest release declares stands beside its name."""
    facts = [ReleaseFacts("demo", "2", requires_python=">=3.8")]
    found = seen({"1": "....", "2": "...."}, facts=facts, classifiers=("3.8", "3.9", "3.10"), requires="demo>=1")
    assert text(found)[0] == "demo  the project requires >=1, 2 requires Python >=3.8, names 3.8 to 3.10"


def test_only_what_is_worth_it_is_shown() -> None:
    """A single release without findings needs no lines; packages with findings come first."""
    single, several = seen({"1": "...."}), seen({"1": "....", "2": "...."})
    wrong = seen({"1": "FFFF"})
    assert worth_showing([single, several, wrong]) == [wrong, several]
