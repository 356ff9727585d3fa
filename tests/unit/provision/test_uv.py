"""uv, the program: where it is, and what its words mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_spip.errors import ToolMissing
from pytest_spip.provision.uv_output import build_error, last_words
from pytest_spip.provision.uv_program import find_uv


def test_find_uv() -> None:
    """uv is the one that is installed beside us."""
    assert os.access(find_uv(), os.X_OK)


def test_find_uv_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where uv's package is not installed, uv is looked for on PATH, and where it is not there either, the fix is named."""
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissing, match="uv: not found beside pytest-spip nor on PATH; install it with 'pip install uv'"
    ):
        find_uv()
    (tmp_path / "uv").symlink_to("/bin/true")
    assert find_uv() == str(tmp_path / "uv")


NEWER = """\
error: Failed to build `demo`
  cause: The build backend returned an error
  cause: Call to `x.build_wheel` failed (exit status: 1)
"""
OLDER = """\
  × Failed to build `demo`
  ├─▶ The build backend returned an error
  ╰─▶ Call to `x.build_wheel` failed (exit status: 1)
"""  # noqa: RUF001  # uv's sign


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "Traceback\nValueError: one\n  setuptools.errors.SetupError: two\n" + NEWER,
            "setuptools.errors.SetupError: two",
        ),
        ("warning: x\nerror: command 'gcc' failed\n" + NEWER, "error: command 'gcc' failed"),
        ("demo.c:1: fatal error: Python.h\n" + NEWER, "The build backend returned an error; Call to"),
        (NEWER, "The build backend returned an error; Call to `x.build_wheel` failed (exit status: 1)"),
        (OLDER, "The build backend returned an error; Call to `x.build_wheel` failed (exit status: 1)"),
        ("something\nelse\n", "else"),
        ("", "no output"),
    ],
)
def test_build_error(output: str, told: str) -> None:
    """Of a log, the last exception is the reason, else the last error, else what uv says, of any version."""
    assert build_error(output).startswith(told)


def test_last_words() -> None:
    """Of a long output the end is kept."""
    assert last_words("a\nb\nc\n\n", 2) == "b\nc"
    assert last_words("") == ""
