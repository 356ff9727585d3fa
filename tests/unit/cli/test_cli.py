"""The command ``pytest-spip``: its usage."""

from __future__ import annotations

import pytest

from pytest_spip import cli


def test_command_without_a_word_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Who names no command gets the usage and status 2."""
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
    assert "usage: pytest-spip" in capsys.readouterr().err
