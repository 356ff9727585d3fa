"""Mutants: a module's text with one thing changed, of which unit tests take notice."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pytest_spip

pytest.importorskip("benchmarks", reason="benchmarks are not part of the sdist")

from benchmarks.equivalents import EQUIVALENT
from benchmarks.mutants import TESTS, mutants

ROOT = Path(pytest_spip.__file__).parents[1]
TEXT = '''
"""Says nothing."""
__all__ = ["f"]

class A:
    x: int = 1

    @property
    def f(self, y: "A" = None) -> "A":
        """Says nothing."""
        assert y, "or else"
        if y.z and not self.x < 2 < 3:
            y.z = -1
            y.g("")
        return [a for a in y if a]
'''


def test_one_thing_is_changed_at_a_time() -> None:
    """Operators, constants, conditions and statements are changed, wherever they are; what says nothing is left alone."""
    found = [(one.line, one.change) for one in mutants(TEXT)]
    condition = "A.f: if y.z and (not self.x < 2 < 3): ->"
    assert found == [
        (6, "A: x: int = 1 -> x: int = 2"),
        (12, f"{condition} if y.z or not self.x < 2 < 3:"),
        (12, f"{condition} if y.z and self.x < 2 < 3:"),
        (12, f"{condition} if y.z and (not self.x <= 2 < 3):"),
        (12, f"{condition} if y.z and (not self.x >= 2 < 3):"),
        (12, f"{condition} if y.z and (not self.x < 2 <= 3):"),
        (12, f"{condition} if y.z and (not self.x < 2 >= 3):"),
        (12, f"{condition} if y.z and (not self.x < 3 < 3):"),
        (12, f"{condition} if y.z and (not self.x < 2 < 4):"),
        (13, "A.f: y.z = -1 -> pass"),
        (13, "A.f: y.z = -1 -> y.z = 1"),
        (13, "A.f: y.z = -1 -> y.z = -2"),
        (14, "A.f: y.g('') -> pass"),
        (14, "A.f: y.g('') -> y.g('mutant')"),
        (15, "A.f: return [a for a in y if a] -> return None"),
        (15, "A.f: return [a for a in y if a] -> return [a for a in y if not a]"),
    ]


def test_a_mutant_has_no_other_change() -> None:
    """Each mutant is a module that differs from the original in one statement, and is undone before the next."""
    original = ast.unparse(ast.parse(TEXT)).splitlines()
    for one in mutants(TEXT):
        changed = ast.unparse(one.tree).splitlines()
        different = [pair for pair in zip(original, changed, strict=True) if pair[0] != pair[1]]
        assert [(before.strip(), after.strip()) for before, after in different] == [(one.before, one.after)]


def test_long_statements_are_cut() -> None:
    """Of a long statement what is around the change is shown."""
    numbers = ", ".join(map(str, range(100, 200)))
    changes = [one.change for one in mutants(f"x = [{numbers}]")]
    assert all(len(change) < 200 for change in changes)
    assert len(set(changes)) == len(changes)


@pytest.mark.parametrize("file", TESTS)
def test_what_is_listed_exists(file: str) -> None:
    """Tests that are to notice mutants exist, and so does each change that is called equivalent, with a reason."""
    assert all((ROOT / tests).is_file() for tests in TESTS[file])
    changes = {one.change for one in mutants((ROOT / file).read_text("utf-8"))}
    assert EQUIVALENT.get(file, {}).keys() <= changes
    assert all(EQUIVALENT.get(file, {}).values())
