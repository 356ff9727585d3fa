"""The command ``pytest-spip``: its usage."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip import cli
from pytest_spip.common.cache import Cache


def test_command_without_a_word_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Who names no command gets the usage and status 2."""
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
    assert "usage: pytest-spip" in capsys.readouterr().err


def test_gc_leaves_alone_what_is_no_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that no session used keeps its folders, whatever they are called; a cache loses its own."""
    (tmp_path / "builds" / "mine").mkdir(parents=True)
    arguments = ["gc", "--only=cache", "--older=0m", f"--spip-cache={tmp_path}"]
    assert cli.main(arguments) == cli.USAGE
    assert "is no cache of pytest-spip's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["builds"]
    assert [path.name for path in (tmp_path / "builds").iterdir()] == ["mine"]
    Cache(tmp_path).use(tmp_path / "builds" / "mine")
    assert cli.main(arguments) == 0
