"""Where attacks on a sandbox are tried."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pytest_spip.run.levels import SHORT, probe_parent


def test_probe_has_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TMPDIR too long for a socket's path does not cost the sandbox its level; one that is short is used."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert len(os.fsencode(probe_parent())) <= SHORT
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert probe_parent() == "/tmp"
