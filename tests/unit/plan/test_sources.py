"""The user's index settings, as uv and pip read them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Indexes
from pytest_spip.plan.sources import PUBLIC_INDEX
from tests.support.person import Person


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Return a person who has configured nothing, on a machine on which nobody has."""
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    return Person(tmp_path)


def url(name: str) -> str:
    """Return an index's URL."""
    return f"https://{name}/simple"


def test_nothing_configured(person: Person) -> None:
    """Who has configured nothing gets the public index."""
    assert person.indexes(PIP_CONFIG_FILE=os.devnull) == Indexes((PUBLIC_INDEX,), origin="default")


def test_offline(person: Person) -> None:
    """UV_OFFLINE counts wherever the indexes are configured."""
    for environ in ({}, {"UV_INDEX": url("a")}, {"PIP_INDEX_URL": url("a")}):
        assert person.indexes(UV_OFFLINE="1", **environ).offline
        assert not person.indexes(UV_OFFLINE="0", **environ).offline


# -- uv -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"UV_INDEX_URL": url("a")}, ["a"]),
        ({"UV_DEFAULT_INDEX": url("a") + "/"}, ["a"]),
        ({"UV_INDEX": url("a")}, ["a", "pypi.org"]),
        ({"UV_INDEX": f"one={url('a')} {url('b')}\n{url('c')}"}, ["a", "b", "c", "pypi.org"]),
        ({"UV_EXTRA_INDEX_URL": f"{url('a')} {url('b')}", "UV_INDEX": url("c")}, ["c", "a", "b", "pypi.org"]),
        ({"UV_INDEX": url("a"), "UV_DEFAULT_INDEX": f"main={url('b')}", "UV_INDEX_URL": url("c")}, ["a", "b"]),
        ({"UV_INDEX": f"{url('a')} {url('b')}", "UV_DEFAULT_INDEX": url("a")}, ["a", "b"]),
        ({"UV_NO_INDEX": "true", "UV_INDEX": url("a")}, []),
    ],
)
def test_uv_environment(person: Person, environ: Mapping[str, str], expected: list[str]) -> None:
    """The environment's indexes are searched in uv's order, the default one last, each once."""
    assert expected == person.urls(**environ)
    assert person.indexes(**environ).origin == "uv"


INDEX = '[[index]]\nurl = "https://{}/simple"\n'
TOOL_INDEX = "[[tool.uv.index]]\nurl = 'https://{}/simple'\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"project/pyproject.toml": TOOL_INDEX.format("a")}, ["a", "pypi.org"], id="pyproject"),
        pytest.param({"project/uv.toml": INDEX.format("a")}, ["a", "pypi.org"], id="uv.toml"),
        pytest.param({".config/uv/uv.toml": INDEX.format("a")}, ["a", "pypi.org"], id="user"),
        pytest.param(
            {"project/uv.toml": INDEX.format("a"), "project/pyproject.toml": TOOL_INDEX.format("b")},
            ["a", "pypi.org"],
            id="uv.toml-before-pyproject",
        ),
        pytest.param(
            {"project/deep/uv.toml": INDEX.format("a"), "project/uv.toml": INDEX.format("b")},
            ["a", "pypi.org"],
            id="nearest-project",
        ),
        pytest.param(
            {"project/deep/pyproject.toml": "[project]\nname = 'x'\n", "project/uv.toml": INDEX.format("b")},
            ["b", "pypi.org"],
            id="pyproject-without-uv",
        ),
        pytest.param(
            {"project/uv.toml": INDEX.format("a"), ".config/uv/uv.toml": INDEX.format("b")},
            ["a", "b", "pypi.org"],
            id="project-before-user",
        ),
        pytest.param(
            {"project/uv.toml": 'index-url = "https://a/simple"\nextra-index-url = ["https://b/simple"]\n'},
            ["b", "a"],
            id="older-keys",
        ),
        pytest.param(
            {"project/uv.toml": INDEX.format("a") + "default = true\n" + INDEX.format("b") + "explicit = true\n"},
            ["a"],
            id="default-and-explicit",
        ),
        pytest.param({"project/uv.toml": "no-index = true\n"}, [], id="no-index"),
        pytest.param({"project/pyproject.toml": "[tool.ruff]\n"}, ["pypi.org"], id="other-tools"),
    ],
)
def test_uv_files(person: Person, files: Mapping[str, str], expected: list[str]) -> None:
    """The nearest project's settings come before the user's."""
    for name, text in files.items():
        person.write(name, text)
    assert expected == person.urls()


def test_uv_files_named_or_forbidden(person: Person) -> None:
    """UV_CONFIG_FILE names the only file that counts, and UV_NO_CONFIG forbids all others."""
    person.write("project/uv.toml", INDEX.format("a"))
    named = person.write("named.toml", INDEX.format("b"))
    assert person.urls(UV_CONFIG_FILE=str(named)) == ["b", "pypi.org"]
    assert person.urls(UV_NO_CONFIG="1") == ["pypi.org"]


def test_uv_find_links(person: Person) -> None:
    """Places of links are found from wherever uv runs, and a flat index is one of them."""
    person.write(
        "project/uv.toml",
        'find-links = ["./links", "https://a/links/"]\n' + INDEX.format("b") + 'format = "flat"\n',
    )
    found = person.indexes(UV_FIND_LINKS="wheels,/opt/wheels")
    assert found.find_links == (
        str(person.project / "wheels"),
        "/opt/wheels",
        str(person.home / "project" / "links"),
        "https://a/links",
        "https://b/simple",
    )
    assert found.urls == (PUBLIC_INDEX,)


def test_uv_index_in_a_directory(person: Person) -> None:
    """An index may be a directory, relative to the file that names it."""
    person.write("project/uv.toml", '[[index]]\nurl = "./simple"\n')
    assert person.indexes().urls == ((person.home / "project" / "simple").as_uri(), PUBLIC_INDEX)


def test_uv_credentials_by_name(person: Person) -> None:
    """A named index takes its credentials from the environment, before those of its URL, and quoted."""
    person.write("project/uv.toml", '[[index]]\nname = "my-own.1"\nurl = "https://old:login@a:8080/simple"\n')
    urls = person.indexes(UV_INDEX_MY_OWN_1_USERNAME="user", UV_INDEX_MY_OWN_1_PASSWORD="p@ss/word").urls
    assert urls == ("https://user:p%40ss%2Fword@a:8080/simple", PUBLIC_INDEX)
    assert person.indexes().urls == ("https://old:login@a:8080/simple", PUBLIC_INDEX)


# -- pip ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PIP_INDEX_URL": url("a")}, ["a"]),
        ({"PIP_EXTRA_INDEX_URL": f"{url('a')} {url('b')}/"}, ["pypi.org", "a", "b"]),
        ({"PIP_INDEX_URL": url("a"), "PIP_EXTRA_INDEX_URL": url("b")}, ["a", "b"]),
        ({"PIP_INDEX_URL": url("a"), "PIP_NO_INDEX": "1"}, []),
        ({"PIP_INDEX_URL": ""}, ["pypi.org"]),
        ({"PIP_INDEX_URL": url("a"), "UV_INDEX": url("b")}, ["b", "pypi.org"]),
    ],
)
def test_pip_environment(person: Person, environ: Mapping[str, str], expected: list[str]) -> None:
    """pip's settings count where uv has none; pip searches the main index first."""
    assert expected == person.urls(**environ)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({".config/pip/pip.conf": "[global]\nindex-url = https://a/"}, ["a"], id="user"),
        pytest.param({".pip/pip.conf": "[global]\nindex_url = https://a/"}, ["a"], id="old-place-and-spelling"),
        pytest.param(
            {
                ".pip/pip.conf": "[global]\nindex-url=https://a/",
                ".config/pip/pip.conf": "[global]\nindex-url=https://b/",
            },
            ["b"],
            id="later-file-overrides",
        ),
        pytest.param(
            {
                ".pip/pip.conf": "[install]\nindex-url=https://a/",
                ".config/pip/pip.conf": "[global]\nindex-url=https://b/",
            },
            ["a"],
            id="command-section-before-global",
        ),
        pytest.param(
            {".config/pip/pip.conf": "[global]\nextra-index-url =\n    https://a/\n    https://b/"},
            ["pypi.org", "a", "b"],
            id="several-lines",
        ),
        pytest.param({".config/pip/pip.conf": "[global]\nindex-url =\n[list]\nformat=json"}, ["pypi.org"], id="empty"),
        pytest.param({"venv/pip.conf": "[global]\nindex-url = https://a/"}, ["a"], id="virtual-environment"),
        pytest.param({"named.conf": "[global]\nindex-url = https://a/"}, ["a"], id="named"),
        pytest.param({"../etc/pip/pip.conf": "[global]\nindex-url = https://a/"}, ["a"], id="machine"),
    ],
)
def test_pip_files(person: Person, files: Mapping[str, str], expected: list[str]) -> None:
    """pip's files override each other from the machine's to the one that is named, section by section."""
    for name, text in files.items():
        person.write(name, text)
    home = str(person.home)
    assert expected == person.urls(VIRTUAL_ENV=f"{home}/venv", PIP_CONFIG_FILE=f"{home}/named.conf")


def test_pip_environment_before_files(person: Person) -> None:
    """The environment overrides files, unless it is empty, and may forbid them."""
    person.write(".config/pip/pip.conf", "[install]\nindex-url = https://a/")
    assert person.urls(PIP_INDEX_URL=url("b")) == ["b"]
    assert person.urls(PIP_INDEX_URL="") == ["a"]
    assert person.urls(PIP_CONFIG_FILE=os.devnull) == ["pypi.org"]


def test_pip_find_links(person: Person) -> None:
    """Directories that pip would only warn of are left out, for uv would stop at them."""
    (person.project / "here").mkdir()
    person.write("wheels/x", "")
    links = person.indexes(PIP_FIND_LINKS=f"here missing {person.home}/wheels https://a/links").find_links
    assert links == (f"{person.project}/here", f"{person.home}/wheels", "https://a/links")
    assert person.indexes(PIP_FIND_LINKS="here").origin == "pip"


# -- what cannot be understood ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("project/uv.toml", "index = ", "(Invalid value"),
        (
            "project/uv.toml",
            "index = 'https://a/'",
            "(index is no list of tables); fix the file, or set UV_NO_CONFIG=1",
        ),
        ("project/uv.toml", "extra-index-url = [1]", "([1] is no list of texts)"),
        ("project/uv.toml", "find-links = true", "(True is no list of texts)"),
        ("project/uv.toml", "pip = 1", "(pip is no table)"),
        ("project/pyproject.toml", "tool = 1", "(tool is no table)"),
        ("project/pyproject.toml", "[tool]\nuv = 1", "(uv is no table)"),
        (".config/pip/pip.conf", "index-url = x", "(File contains no section headers"),
        (".config/pip/pip.conf", "[a]\nb=1\nb=2", "(While reading from"),
    ],
)
def test_files_that_cannot_be_understood(person: Person, name: str, text: str, told: str) -> None:
    """A file that makes no sense is a usage error that names it."""
    path = person.write(name, text)
    with pytest.raises(UsageProblem) as problem:
        person.indexes()
    assert str(problem.value).startswith(f"index settings: cannot read {path} {told}")
    assert "\n" not in str(problem.value)


def test_file_that_is_not_there(person: Person) -> None:
    """A file that is named must be there."""
    with pytest.raises(UsageProblem, match=r"cannot read /missing\.toml"):
        person.indexes(UV_CONFIG_FILE="/missing.toml")


@pytest.mark.parametrize("text", ["https://user:secret@[::1/simple", "https://user:secret@a:port/simple"])
def test_url_that_is_none(person: Person, text: str) -> None:
    """An address that is none is refused in words without its credentials."""
    for variable in ("UV_INDEX", "PIP_INDEX_URL", "UV_FIND_LINKS"):
        with pytest.raises(UsageProblem, match="is no URL") as problem:
            person.indexes(**{variable: text})
        assert "secret" not in str(problem.value)
