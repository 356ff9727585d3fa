"""Ranges, boundaries and likely changes of failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.model import Affected, Combo, Group, LockChange, Outcome, Reason, Result
from pytest_spip.report.ranges import Cells, affected, affected_text, pythons_text, where_text
from pytest_spip.report.triage import likely_change, lock_changes
from tests.support.rooms import combo, interpreter, result, summary
from tests.support.supply import steady

PYTHONS = ("py38", "py39", "py310", "py311")
FAILED, SKIPPED, ERROR, IMPORT = Outcome.FAILED, Outcome.SKIPPED, Outcome.ERROR, Reason.IMPORT_ERROR


def drawn(rows: Mapping[str, str], labels: Sequence[str] = PYTHONS) -> tuple[list[Combo], list[Result]]:
    """Return combinations, and results as letters by version: ``.`` passed, ``F`` and ``G`` failed, ``-`` skipped, ``E`` error."""
    ends: dict[str, tuple[Outcome, Reason | None, str]] = {
        ".": (Outcome.PASSED, None, ""),
        "F": (FAILED, IMPORT, "first"),
        "G": (FAILED, IMPORT, "second"),
        "-": (SKIPPED, Reason.REQUIRES_PYTHON, ""),
        "E": (ERROR, Reason.NETWORK, "away"),
    }
    combos: list[Combo] = []
    results: list[Result] = []
    for version, letters in rows.items():
        for label, letter in zip(labels, letters, strict=True):
            combos.append(combo(len(combos), "demo", version, label))
            results.append(result(len(results), *ends[letter]))
    return combos, results


def groups(rows: Mapping[str, str], labels: Sequence[str] = PYTHONS) -> tuple[Group, ...]:
    """Return the groups of a drawn run."""
    return summary(*drawn(rows, labels)).groups


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ({"1": "FFFF", "2": "FFFF", "3": "...."}, ["demo 1 … 2 on every Python"]),
        ({"1": "....", "2": "..FF", "3": "..FF", "4": "..FF", "5": "...."}, ["demo 2 … 4 (3) on >= 3.10"]),
        ({"1": "FF..", "2": "FF.."}, ["demo 1 … 2 on <= 3.9"]),
        ({"1": ".FF.", "2": ".FF."}, ["demo 1 … 2 on 3.9 to 3.10"]),
        ({"1": "F.F.", "2": "...."}, ["demo 1 on 3.8, 3.10"]),
        ({"1": "...F", "2": "...F"}, ["demo 1 … 2 on 3.11"]),
        # What says nothing does not break a range, and is not claimed by one.
        ({"1": "..FF", "2": "..F-", "3": "..FF"}, ["demo 1 … 3 (3) on >= 3.10"]),
        ({"1": "FFFF", "2": "----", "3": "FFFF"}, ["demo 1 … 3 on every Python"]),
        ({"1": "FFF-", "2": "FFF-"}, ["demo 1 … 2 on <= 3.10"]),
        # A pass, or another failure, does.
        ({"1": "..FF", "2": "....", "3": "..FF"}, ["demo 1 on >= 3.10", "demo 3 on >= 3.10"]),
        ({"1": "..FF", "2": "..GG", "3": "..FF"}, ["demo 1 on >= 3.10", "demo 3 on >= 3.10"]),
        ({"1": "...F", "2": "..FF", "3": "..FF"}, ["demo 1 on 3.11", "demo 2 … 3 on >= 3.10"]),
    ],
)
def test_ranges(rows: Mapping[str, str], texts: list[str]) -> None:
    """Neighbouring releases that fail in one way on the same Pythons are one range."""
    assert [affected_text(one) for one in groups(rows)[0].affected] == texts


@steady
@given(st.lists(st.text("FG.-E", min_size=4, max_size=4), min_size=1, max_size=12))
def test_ranges_hold_exactly_what_failed(rows: list[str]) -> None:
    """Ranges read back name each failure of their group, and nothing else that was tried."""
    combos, results = drawn({str(number): letters for number, letters in enumerate(rows)})
    made = summary(combos, results)
    for group in made.groups:
        named = {ordinal for one in group.affected for ordinal in read_back(made.combos, one)}
        members = {one.ordinal for one in group.results}
        assert members <= named
        silent = {n for n in named if made.results[n].verdict.outcome in (SKIPPED, ERROR)}
        assert named - silent == members - silent


def read_back(combos: Sequence[Combo], one: Affected) -> list[int]:
    """Return the ordinals that a range names."""
    pythons = [interpreter(f"3.{minor}") for minor in (8, 9, 10, 11)]
    every = {pythons_text(labels, pythons): labels for labels in _subsets([each.label for each in pythons])}
    return [
        each.ordinal
        for each in combos
        if int(one.first) <= int(each.version) <= int(one.last) and each.label in every[one.pythons]
    ]


def _subsets(labels: Sequence[str]) -> list[tuple[str, ...]]:
    count = len(labels)
    return [tuple(label for bit, label in enumerate(labels) if mask >> bit & 1) for mask in range(1, 1 << count)]


def test_texts_of_pythons_differ() -> None:
    """No two sets of Pythons have one text."""
    pythons = [interpreter(f"3.{minor}") for minor in range(8, 14)]
    subsets = _subsets([each.label for each in pythons])
    assert len({pythons_text(labels, pythons) for labels in subsets}) == len(subsets)


def test_other_pythons_are_named_by_label() -> None:
    """PyPy and builds without the lock are in no range."""
    combos = [combo(n, label=label) for n, label in enumerate(("py311", "py312"))]
    others = [combo(2, label="pypy310", python=None), combo(3, label="py313t", python=None)]
    known = [interpreter("3.11"), interpreter("3.12")]
    free = interpreter("3.13")
    pypy = interpreter("3.10")
    made = [
        *known,
        type(free)(free.id, "py313t", free.version, "cpython", free.path),
        type(pypy)(pypy.id, "pypy310", pypy.version, "pypy", pypy.path),
    ]
    results = {n: result(n, FAILED, IMPORT) for n in (0, 1, 2)} | {3: result(3)}
    cells = Cells([*combos, *others], made, results)
    assert [affected_text(one) for one in affected(cells, [0, 1, 2])] == ["demo 1.0 on 3.11 to 3.12, pypy310"]


def test_crosses_and_resolutions() -> None:
    """Ranges of a cross name both packages; a resolution is named where not all of them fail."""
    places = [(one, two, way) for one in ("1", "2") for two in ("7", "8", "9") for way in ("", "lowest")]
    combos = [
        combo(n, "demo", one, "py312", others=(("other", two),), resolution=way)
        for n, (one, two, way) in enumerate(places)
    ]
    bad = {n for n, (_, two, way) in enumerate(places) if way == "lowest" and two != "9"}
    results = [result(n, FAILED, IMPORT) if n in bad else result(n) for n in range(len(places))]
    (group,) = summary(combos, results).groups
    assert where_text(group) == "demo 1 … 2 + other 7 … 8 lowest on 3.12"


def test_a_range_of_a_cross_has_one_set_of_resolutions() -> None:
    """Neighbours that fail in different resolutions are no range: it would hold what passes."""
    places = [("7", ""), ("7", "lowest"), ("8", ""), ("8", "lowest")]
    combos = [combo(n, others=(("other", two),), resolution=way) for n, (two, way) in enumerate(places)]
    results = [result(n, FAILED, IMPORT) if n in (0, 3) else result(n) for n in range(4)]
    (group,) = summary(combos, results).groups
    assert [affected_text(one) for one in group.affected] == [
        "demo 1.0 + other 7 highest on 3.12",
        "demo 1.0 + other 8 lowest on 3.12",
    ]


def test_one_or_two_failures_are_named_by_id() -> None:
    """An id can be pasted, and says more than a range of one."""
    assert where_text(groups({"1": "...F", "2": "...F"})[0]) == "demo[1-py311], demo[2-py311]"


def test_boundaries() -> None:
    """A group says which release it begins with and which it ends with, beside those that pass."""
    (group,) = groups({"1": "....", "2": "..FF", "3": "..FF", "4": "...."})
    assert [(one.bad, one.good, one.begins) for one in group.boundaries] == [("2", "1", True), ("3", "4", False)]
    (group,) = groups({"1": "FFFF", "2": "----", "3": "...."})
    assert [(one.bad, one.good, one.begins) for one in group.boundaries] == [("1", "3", False)]
    (group,) = groups({"1": "....", "2": "...F", "3": "..FF", "4": "...."})
    assert [(one.bad, one.good, one.pythons) for one in group.boundaries] == [("2", "1", "3.11"), ("3", "4", "")]
    assert groups({"1": "FFFF"})[0].boundaries == ()


def test_errors_come_last_and_blame_nothing() -> None:
    """Errors are apart, however many: they say nothing about the package."""
    found = groups({"1": "EEEE", "2": "EEEE", "3": ".F.."})
    assert [(one.count, one.is_environment, one.likely) for one in found] == [
        (1, False, "Python 3.9: the same releases pass on 3.8"),
        (8, True, ""),
    ]


def locked(rows: Mapping[str, tuple[str, Mapping[str, str]]], detail: str = "") -> Group:
    """Return the one group of releases on Python 3.12, each with its letter and its lock."""
    combos = [combo(n, "demo", version) for n, version in enumerate(rows)]
    results: list[Result] = []
    for version, (letter, lock) in rows.items():
        end = (FAILED, IMPORT, detail) if letter == "F" else ()
        results.append(result(len(results), *end, locked={"demo": version, **lock} if lock else {}))
    (group,) = summary(combos, results).groups
    return group


def test_likely_change_is_in_the_lock() -> None:
    """Where another version of a dependency is what differs from the neighbour that passes, it is named."""
    old, new = {"werkzeug": "2.3.7", "click": "8"}, {"werkzeug": "3.0.1", "click": "8"}
    assert locked({"1": ("F", new), "2": ("F", new), "3": (".", old)}).likely == "werkzeug 2.3.7 -> 3.0.1"


def test_what_the_failure_names_is_likelier() -> None:
    """Of several differences the failure's own words choose."""
    old, new = {"werkzeug": "2", "click": "7", "jinja2": "2"}, {"werkzeug": "3", "click": "8", "jinja2": "3"}
    group = locked({"1": (".", old), "2": ("F", new)}, "cannot import name 'url_quote' from 'werkzeug.urls'")
    assert group.likely == "werkzeug 2 -> 3"
    assert (
        locked({"1": (".", old), "2": ("F", new)}, "no").likely == "one of click 7 -> 8, jinja2 2 -> 3, werkzeug 2 -> 3"
    )


def test_a_name_in_a_word_is_no_name() -> None:
    """A failure names a project by its name as a word, in whichever spelling, and not by letters of another."""
    old, new = {"py": "1", "zope-interface": "1"}, {"py": "2", "zope-interface": "2"}
    every = "one of py 1 -> 2, zope-interface 1 -> 2"
    rows = {"1": (".", old), "2": ("F", new)}
    assert locked(rows, "AttributeError: copy (/usr/lib/python3.12/re.py)").likely == every
    assert locked(rows, "cannot import name 'x' from 'zope.interface.adapter'").likely == "zope-interface 1 -> 2"
    assert locked(rows, "No module named 'py'").likely == "py 1 -> 2"
    assert locked(rows, "No module named 'py-cpuinfo'").likely == every


def test_many_candidates_are_counted() -> None:
    """What could be it is named as far as there is room, and the rest counted."""
    old, new = ({f"d{n}": version for n in range(5)} for version in ("1", "2"))
    group = locked({"1": (".", old), "2": ("F", new)})
    assert group.likely == "one of d0 1 -> 2, d1 1 -> 2, d2 1 -> 2, … 2 more"


def test_several_releases_are_not_one() -> None:
    """Where a failure comes and goes, no single release is behind it."""
    assert locked({str(n): (".F"[n % 2], {"werkzeug": "2"}) for n in range(6)}).likely == ""


def test_the_release_itself() -> None:
    """Where all else is equal, it is the release."""
    lock = {"werkzeug": "2"}
    assert locked({"1": (".", lock), "2": ("F", lock)}).likely == "demo 2 itself: all else is as in the release before"
    assert (
        locked({"1": (".", {}), "2": ("F", lock)}).likely == ""
    )  # nothing is known of a release that was not installed


def test_likely_python() -> None:
    """Where the same releases pass on the Python before, it is that Python."""
    (group,) = groups({"1": "..FF", "2": "..FF"})
    assert group.likely == "Python 3.10: the same releases pass on 3.9"
    (group,) = groups({"1": "..FF", "2": "...F", "3": ".FFF"})
    assert group.likely == ""


def test_a_python_is_counted_once_for_each_resolution() -> None:
    """Two resolutions of one release are not two releases in favour of a Python."""
    places = [(n, label, way) for n in range(10) for label in ("py311", "py312") for way in ("", "lowest")]
    combos = [combo(at, version=str(n), label=label, resolution=way) for at, (n, label, way) in enumerate(places)]
    bad = [label == "py312" or n >= 4 for n, label, _ in places]
    (group,) = summary(combos, [result(n, FAILED, IMPORT) if one else result(n) for n, one in enumerate(bad)]).groups
    assert group.likely == ""


@pytest.mark.parametrize(
    ("detail", "likely"),
    [
        ("ModuleNotFoundError: No module named 'imp'", "imp is not in the standard library from Python 3.12 on"),
        (
            "ModuleNotFoundError: No module named 'distutils.core'",
            "distutils.core is not in the standard library from Python 3.12 on",
        ),
        (
            "ImportError: cannot import name 'Mapping' from 'collections' (/usr/lib/python3.12/collections/__init__.py)",
            "collections.Mapping was removed in Python 3.10; it is collections.abc.Mapping",
        ),
        (
            "AttributeError: module 'inspect' has no attribute 'getargspec'. Did you mean: 'getargs'?",
            "inspect.getargspec was removed in Python 3.11",
        ),
        ("SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?", "its source is for Python 2"),
        ("ModuleNotFoundError: No module named 'cgi'", ""),  # on 3.12 it is there
        ("ModuleNotFoundError: No module named 'impossible'", ""),
        ("cannot import name 'Mapping' from 'collections_extended'", ""),
    ],
)
def test_removed_from_the_standard_library(detail: str, likely: str) -> None:
    """What a Python no longer has is named, if the failure misses it, and on no Python that has it."""
    combos = [combo(0, "demo", "1", "py312")]
    (group,) = summary(combos, [result(0, FAILED, IMPORT, detail)]).groups
    assert group.likely == likely


def test_lock_changes() -> None:
    """Only what differs is named; nothing is known where one lock is not."""
    assert lock_changes({"a": "1", "b": "1"}, {"a": "2", "c": "1"}) == (("a", "1", "2"), ("b", "1", ""), ("c", "", "1"))
    assert lock_changes({}, {"a": "1"}) == ()
    assert likely_change([], "") == ()
    assert likely_change([[LockChange("a", "1", "2")], []], "") == ()
