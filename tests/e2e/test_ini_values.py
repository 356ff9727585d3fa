"""A session that is told a value of the wrong type in pytest's configuration."""

from __future__ import annotations

import pytest


def test_session(pytester: pytest.Pytester) -> None:
    """A session refuses it with status 4."""
    (pytester.path / "pytest.toml").write_text('[pytest]\nspip_matrix = ["click"]\nspip_timeout = false\n', "utf-8")
    ended = pytester.runpytest_subprocess("--spip")
    assert ended.ret == 4
    ended.stderr.fnmatch_lines(["ERROR: spip_timeout: False is neither text nor a number; *"])
