"""uv itself, asked which indexes it searches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_spip.provision.uv_program import find_uv
from tests.support.person import Person
from tests.support.server import say, served


@pytest.fixture(scope="module")
def nowhere() -> Iterator[str]:
    """Serve indexes that know no project; a path's first part names the index."""
    with served(lambda request: say(request, 404)) as url:
        yield url


@pytest.mark.parametrize(
    ("environ", "project", "user"),
    [
        ({"UV_INDEX_URL": "e"}, "[[index]]\nurl='p'\ndefault=true", ""),
        ({"UV_EXTRA_INDEX_URL": "e", "UV_DEFAULT_INDEX": "d"}, "[[index]]\nurl='p'", ""),
        ({"UV_EXTRA_INDEX_URL": "e", "UV_INDEX": "i"}, "index-url='d'\nextra-index-url=['x']\n[[index]]\nurl='p'", ""),
        ({}, "[[index]]\nurl='p'\ndefault=true", "[[index]]\nurl='u'\ndefault=true"),
        ({}, "index-url='p'", "[[index]]\nurl='u'\ndefault=true"),
        ({}, "[[index]]\nurl='p'", "[[index]]\nurl='u'\ndefault=true\n[[index]]\nurl='v'"),
        ({"UV_DEFAULT_INDEX": "d"}, "extra-index-url=['x']", "[[index]]\nurl='v'"),
        ({"UV_DEFAULT_INDEX": "d"}, "[pip]\nextra-index-url=['q']\n[[index]]\nurl='v'", ""),
    ],
)
def test_uv_agrees(tmp_path: Path, nowhere: str, environ: Mapping[str, str], project: str, user: str) -> None:
    """uv itself, given the same settings, searches the same indexes in the same order."""
    person = Person(tmp_path)
    for name, text in (("project/uv.toml", project), (".config/uv/uv.toml", user)):
        person.write(name, text.replace("='", f"='{nowhere}/").replace("['", f"['{nowhere}/"))
    given = {name: f"{nowhere}/{value}" for name, value in environ.items()}
    command = [find_uv(), "pip", "compile", "-", "--verbose", "--python", sys.executable]
    uv = {"HOME": str(person.home), "UV_CACHE_DIR": str(tmp_path / "uv"), "NO_COLOR": "1", "PATH": os.environ["PATH"]}
    asked = subprocess.run(
        command, input="demo", env=uv | given, cwd=person.project, capture_output=True, text=True, check=False
    ).stderr
    searched = [line.rpartition(": ")[2] for line in asked.splitlines() if "Sending fresh GET request for" in line]
    assert searched == [f"{url}/demo/" for url in person.indexes(**given).urls]
