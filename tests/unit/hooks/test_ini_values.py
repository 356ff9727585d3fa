"""Typed values in pytest's configuration, read by real configurations of pytest."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.ini_values import ini_value
from pytest_spip.options import OPTIONS

NATIVE, TEXTUAL = "pytest.toml [pytest]", "pyproject.toml [tool.pytest.ini_options]"
OF_NAME = {option.name: option for option in OPTIONS}


def values(pytester: pytest.Pytester, place: str, lines: Mapping[str, str], *arguments: str) -> dict[str, object]:
    """Return what a configuration file means for the options that it names."""
    file, table = place.split(" ")
    text = "\n".join([table, *(f"{OF_NAME[name].dest} = {value}" for name, value in lines.items())])
    (pytester.path / file).write_text(text, "utf-8")
    config = pytester.parseconfig(*arguments)
    return {name: ini_value(config, OF_NAME[name]) for name in lines}


@pytest.mark.parametrize("place", [NATIVE, TEXTUAL])
def test_types(pytester: pytest.Pytester, place: str) -> None:
    """Numbers, booleans and lists mean what the same words mean as text."""
    lines = {
        "timeout": "30",
        "inactivity": "2.5",
        "memory": "1073741824",
        "versions": "3",
        "stats": "10",
        "pre": "true",
        "python": '["3.9", "3.12"]',
        "env": '["HOME", "LANG"]',
        "check": '"import"',
    }
    assert values(pytester, place, lines) == {
        "timeout": "30",
        "inactivity": "2.5",
        "memory": "1073741824",
        "versions": "3",
        "stats": "10",
        "pre": True,
        "python": "3.9,3.12",
        "env": ["HOME", "LANG"],
        "check": "import",
    }


def test_one_text_for_many(pytester: pytest.Pytester) -> None:
    """A single text stands for a list of one."""
    assert values(pytester, NATIVE, {"matrix": '"click"', "slots": '"gpu:2"'}) == {
        "matrix": ["click"],
        "slots": ["gpu:2"],
    }


def test_overridden(pytester: pytest.Pytester) -> None:
    """-o on the command line comes before what the file says, whatever its type."""
    lines = {"timeout": "30", "matrix": '["click"]', "python": '["3.9"]'}
    typed = ("-o", "spip_timeout=5", "-o", "spip_matrix=flask", "-o", "spip_python=3.12")
    assert values(pytester, NATIVE, lines, *typed) == {"timeout": "5", "matrix": ["flask"], "python": "3.12"}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "python",
            "3.10",
            'spip_python: 3.1 is a number, in which 3.10 and 3.1 are the same; write it in quotes, like "3.10"',
        ),
        ("python", '["3.9", 3.1]', "spip_python: 3.1 is a number"),
        ("timeout", "true", "spip_timeout: True is neither text nor a number; write it like --spip-timeout takes it"),
        ("timeout", "{ a = 1 }", "spip_timeout: {'a': 1} is neither text nor a number"),
        ("timeout", "[1, 2]", "spip_timeout: [1, 2] is neither text nor a number"),
        ("matrix", "[true]", "spip_matrix: True is neither text nor a number"),
        ("pre", "1", "spip_pre: expects a bool, got int: 1; correct it"),
    ],
)
def test_other_types(pytester: pytest.Pytester, name: str, value: str, line: str) -> None:
    """A value of another type is told in one line that names the key and the fix."""
    with pytest.raises(UsageProblem) as caught:
        values(pytester, NATIVE, {name: value})
    assert str(caught.value).startswith(line)
