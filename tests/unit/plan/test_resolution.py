"""The user's settings of resolutions: as uv reads them, or pip where uv is not configured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.model import ResolutionSettings
from tests.support.person import Person


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Return a person with files of constraints, on a machine on which nobody has configured anything."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    person = Person(tmp_path)
    person.write("project/deep/c.txt", "werkzeug<2.1  # old\n-r more.txt\n")
    person.write("project/deep/more.txt", "click<8\n")
    return person


BOTH = ("werkzeug<2.1", "click<8")


@pytest.mark.parametrize(
    ("environ", "files", "expected"),
    [
        ({"UV_CONSTRAINT": "c.txt"}, {}, {"constraints": BOTH}),
        ({"UV_CONSTRAINT": "c.txt more.txt"}, {}, {"constraints": BOTH}),
        ({"UV_OVERRIDE": "more.txt"}, {}, {"overrides": ("click<8",)}),
        ({"UV_BUILD_CONSTRAINT": "more.txt"}, {}, {"build_constraints": ("click<8",)}),
        ({"UV_PRERELEASE": "allow"}, {}, {"prerelease": "allow"}),
        ({"UV_INDEX_STRATEGY": "unsafe-best-match"}, {}, {"index_strategy": "unsafe-best-match"}),
        ({"UV_RESOLUTION": "lowest"}, {}, {"resolution": "lowest"}),
        ({"UV_EXCLUDE_NEWER": "2022-02-14T00:00:00Z"}, {}, {"exclude_newer": "2022-02-14T00:00:00Z"}),
        ({"UV_NO_BINARY": "1"}, {}, {"ignored": ("UV_NO_BINARY",)}),
        ({"UV_NO_BINARY": "0"}, {}, {}),
        (
            {"UV_CONSTRAINT": "more.txt", "UV_PRERELEASE": "disallow"},
            {
                "project/pyproject.toml": "[tool.uv]\nconstraint-dependencies = ['a<1']\nprerelease = 'allow'\n",
                ".config/uv/uv.toml": "constraint-dependencies = ['b<1']\noverride-dependencies = ['c==1']\n",
            },
            {"constraints": ("click<8", "a<1", "b<1"), "overrides": ("c==1",), "prerelease": "disallow"},
        ),
        (
            {},
            {
                "project/uv.toml": "prerelease = 'allow'\n[pip]\nprerelease = 'disallow'\n"
                "[exclude-newer-package]\nA = '2022-01-01T00:00:00Z'\nb = false\n"
            },
            {"prerelease": "disallow", "exclude_newer_package": (("a", "2022-01-01T00:00:00Z"), ("b", ""))},
        ),
        ({"PIP_CONSTRAINT": "c.txt", "PIP_PRE": "1"}, {}, {"constraints": BOTH, "prerelease": "allow"}),
        ({}, {".config/pip/pip.conf": "[global]\nconstraint = more.txt\n"}, {"constraints": ("click<8",)}),
        ({"PIP_NO_BINARY": ":all:"}, {}, {"ignored": ("pip's no-binary",)}),
        (
            {"PIP_CONSTRAINT": "c.txt", "UV_DEFAULT_INDEX": "https://a/simple"},
            {},
            {"ignored": ("pip's constraint (uv is configured, and does not read it)",)},
        ),
    ],
)
def test_settings(
    person: Person, environ: Mapping[str, str], files: Mapping[str, str], expected: dict[str, object]
) -> None:
    """Variables go before files, lists are joined, and what does not count is named."""
    for name, text in files.items():
        person.write(name, text)
    assert person.indexes(**environ).settings == ResolutionSettings(**expected)  # type: ignore[arg-type]  # as they come


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"UV_CONSTRAINT": "none.txt"}, "UV_CONSTRAINT: cannot read"),
        ({"UV_PRERELEASE": "maybe"}, "UV_PRERELEASE: 'maybe' is no prerelease"),
        ({"UV_EXCLUDE_NEWER": "soon"}, "UV_EXCLUDE_NEWER: 'soon' is no date"),
        ({"PIP_CONSTRAINT": "none.txt"}, "pip's constraint: cannot read"),
    ],
)
def test_bad_settings(person: Person, environ: Mapping[str, str], told: str) -> None:
    """What cannot be understood is told in one line."""
    with pytest.raises(UsageProblem, match=told) as caught:
        person.indexes(**environ)
    assert "\n" not in str(caught.value)
