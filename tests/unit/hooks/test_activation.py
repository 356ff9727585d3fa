"""What is done before there is a plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_spip.hooks import activation
from pytest_spip.options import OPTIONS, Settings
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from pytest_spip.session.resume import settings_to_plain
from tests.support.rooms import combo, plan, run_facts


def test_password_of_a_session_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hidden from lists of processes as that of a session that begins."""
    hidden: list[str] = []

    def hide(secrets: Iterable[str]) -> None:
        hidden.extend(secrets)

    writer = RunWriter(RunDirectory.create(tmp_path, "one").database)
    writer.create(plan(combo()), run_facts(settings=settings_to_plain(Settings(("demo",)), run="one", cache=tmp_path)))
    writer.close()
    given = dict.fromkeys((option.dest for option in OPTIONS), None) | {
        "spip_resume": "one",
        "spip_queue": "postgresql://me:secret@host/runs",
    }
    config: Any = SimpleNamespace(
        getoption=given.__getitem__,
        rootpath=tmp_path,
        invocation_params=SimpleNamespace(dir=tmp_path),
        option=SimpleNamespace(),
    )
    monkeypatch.setattr(activation, "hide_arguments", hide)
    settings = activation._settings(config, [])
    assert settings.queue == "postgresql://me:secret@host/runs"
    assert hidden == ["secret"]
