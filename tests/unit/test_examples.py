"""The examples name what exists."""

from __future__ import annotations

import re

import pytest

from pytest_spip.options import OPTIONS
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_jobs_keep_the_cache_and_name_options_that_exist(name: str) -> None:
    """The jobs' words are ours, and they keep our cache."""
    text = (ROOT / "examples" / "ci" / name).read_text()
    flags = set(re.findall(r"--spip-[\w-]+", text))
    assert {"--spip-matrix", "--spip-project", "--spip-report"} <= flags <= {option.flag for option in OPTIONS}
    assert "~/.cache/pytest-spip" in text or "--spip-cache=.cache/spip" in text
