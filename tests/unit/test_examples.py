"""The examples name what exists."""

from __future__ import annotations

import re

import pytest

from pytest_spip.cli import COMMANDS
from pytest_spip.options import OPTIONS
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_jobs_keep_the_cache_and_name_options_that_exist(name: str) -> None:
    """The jobs' words are ours, and they keep our cache."""
    text = (ROOT / "examples" / "ci" / name).read_text()
    flags = set(re.findall(r"--spip-[\w-]+", text))
    assert {"--spip-matrix", "--spip-project", "--spip-report"} <= flags <= {option.flag for option in OPTIONS}
    assert "~/.cache/pytest-spip" in text or "--spip-cache=.cache/spip" in text


@pytest.mark.parametrize("name", ["github-shards.yml", "gitlab-shards.yml"])
def test_jobs_of_shards_merge_as_many_as_they_run(name: str) -> None:
    """All parts are run, kept and merged, by options and commands that exist, and a failure of one does not stop the others."""
    text = (ROOT / "examples" / "ci" / name).read_text()
    flags = set(re.findall(r"--spip-[\w-]+", text))
    assert {"--spip-matrix", "--spip-shard", "--spip-run"} <= flags <= {option.flag for option in OPTIONS}
    (merged,) = re.findall(r"pytest-spip merge whole (.*)", text)
    parts = [run.rpartition("-")[2] for run in merged.split()]
    listed, counted = re.findall(r"shard: \[(.*)\]", text), re.findall(r"parallel: (\d+)", text)
    assert [*listed, *counted] == [", ".join(parts) if listed else str(len(parts))]
    assert parts == [str(number + 1) for number in range(len(parts))]
    assert "pytest-spip report whole" in text
    assert {*re.findall(r"pytest-spip (\w+) whole", text)} <= {*COMMANDS}
