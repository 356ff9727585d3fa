"""The support code itself: distributions that install, an index that answers as indexes do, an oracle that can tell."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

from tests.support.distributions import builds, sdist, simple_sdist, wheel
from tests.support.index import Fault, LocalIndex
from tests.support.interpreters import pythons
from tests.support.oracle import OracleTrouble, judge
from tests.support.pages import JSON

HERE = Path(sys.executable)
VERSION = "{}.{}".format(*sys.version_info[:2])
GOOD = {"demo/__init__.py": "value = 1\n"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Make an empty directory for distributions."""
    directory = tmp_path / "files"
    directory.mkdir()
    return directory


@pytest.fixture
def index(files: Path) -> Iterator[LocalIndex]:
    """Serve the distributions."""
    with LocalIndex(files) as index:
        yield index


def run_uv(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run uv with nobody's configuration and an empty cache."""
    settings = {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(tmp_path / "uv-cache"), "UV_PYTHON_DOWNLOADS": "never"}
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        [uv.find_uv_bin(), *arguments], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )


def build(tmp_path: Path, source: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel from an sdist into ``out``, without network."""
    options: list[str | Path] = ["--wheel", "--offline", "--python", HERE, "--out-dir", tmp_path / "out"]
    return run_uv(tmp_path, "build", *options, source)


def get(url: str, accept: str = "text/html") -> tuple[str, bytes]:
    """Return content type and body of what is at the URL."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return answer.headers.get_content_type(), answer.read()


def test_wheel_installs(tmp_path: Path, files: Path) -> None:
    """A wheel installs with its metadata, entry points, scripts and data, and runs."""
    built = wheel(
        files,
        "Demo.Pkg",
        "1.0",
        {**GOOD, "demo/data.bin": b"\x00"},
        requires_python=">=3.8",
        entry_points="[console_scripts]\ndemo = demo:main\n",
        scripts={"demo-tool": "#!python\nprint('tool')\n"},
        data={"data/share/demo.txt": "text"},
        extra_dist_info={"LICENSE": "free"},
    )
    assert built.name == "demo_pkg-1.0-py3-none-any.whl"
    venv = tmp_path / "venv"
    assert run_uv(tmp_path, "venv", "--python", HERE, venv).returncode == 0

    installed = run_uv(tmp_path, "pip", "install", "--offline", "--strict", "--python", venv, built)

    assert installed.returncode == 0, installed.stderr
    code = "import demo, importlib.metadata as m; print(demo.value, m.version('demo-pkg'))"
    assert subprocess.check_output([venv / "bin" / "python", "-c", code], text=True) == "1 1.0\n"
    assert subprocess.check_output([venv / "bin" / "demo-tool"], text=True) == "tool\n"
    assert (venv / "bin" / "demo").exists()
    assert (venv / "share" / "demo.txt").read_text() == "text"


@pytest.mark.parametrize("universal", [True, False])
def test_simple_sdist_builds_and_counts(tmp_path: Path, files: Path, universal: bool) -> None:
    """An sdist builds without network, for all interpreters or for the running one, and each build is counted."""
    counter = tmp_path / "builds"
    source = simple_sdist(files, "demo", "1.0", GOOD, universal=universal, counter=counter)
    assert builds(counter) == []

    built = build(tmp_path, source)

    assert built.returncode == 0, built.stderr
    assert builds(counter) == [VERSION]
    (path,) = (tmp_path / "out").glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl") == universal


def test_simple_sdist_fails_with_its_message(tmp_path: Path, files: Path) -> None:
    """A build that is to fail says why, and is counted too."""
    counter = tmp_path / "builds"
    source = simple_sdist(files, "demo", "1.0", GOOD, fails="no compiler", counter=counter)

    built = build(tmp_path, source)

    assert built.returncode != 0
    assert "no compiler" in built.stderr
    assert builds(counter) == [VERSION]


def test_index_lists_in_json(files: Path, index: LocalIndex) -> None:
    """A client that prefers JSON is told all that is known of a file, and nothing that is not."""
    index.add(wheel(files, "demo", "1.0", GOOD), upload_time="2020-01-01T00:00:00Z", yanked="broken")
    simple_sdist(files, "demo", "2.0", GOOD, requires_python=">=3.8,<4")

    kind, body = get(f"{index.url}demo/", f"{JSON}, text/html;q=0.1")

    page = json.loads(body)
    assert kind == JSON
    assert page["versions"] == ["1.0", "2.0"]
    built, source = page["files"]
    assert (built["filename"], built["upload-time"], built["yanked"]) == (
        "demo-1.0-py3-none-any.whl",
        "2020-01-01T00:00:00Z",
        "broken",
    )
    assert source["requires-python"] == ">=3.8,<4"
    assert {"yanked", "upload-time", "core-metadata"}.isdisjoint(source)


def test_index_lists_in_html(files: Path, index: LocalIndex) -> None:
    """A client that prefers HTML gets the same by attributes."""
    index.add(wheel(files, "demo", "1.0", GOOD), upload_time="2020-01-01T00:00:00Z", yanked=True, requires_python="<4")

    kind, body = get(f"{index.url}demo/")

    assert kind == "text/html"
    assert b'data-requires-python="&lt;4" data-upload-time="2020-01-01T00:00:00Z" data-yanked=""' in body
    assert b"#sha256=" in body


@pytest.mark.parametrize(("formats", "accept"), [(("json",), "text/html"), (("html",), JSON)])
def test_index_of_one_format(files: Path, formats: tuple[str, ...], accept: str) -> None:
    """An index of one format answers in it, whatever the client accepts."""
    wheel(files, "demo", "1.0", GOOD)
    with LocalIndex(files, formats=formats) as index:
        kind, _ = get(f"{index.url}demo/", accept)
    assert kind.endswith(formats[0])


def test_index_redirects_and_logs(files: Path, index: LocalIndex) -> None:
    """A page without trailing slash or with another spelling of the name is redirected, and each request is logged."""
    wheel(files, "demo-pkg", "1.0", GOOD)
    get(f"{index.url}Demo.Pkg")
    assert index.requests == [("GET", "/simple/Demo.Pkg"), ("GET", index.page_path("demo_pkg"))]


def test_index_serves_core_metadata(files: Path) -> None:
    """On request the index announces and serves METADATA apart from the wheel."""
    built = wheel(files, "demo", "1.0", GOOD)
    with LocalIndex(files, core_metadata=True) as index:
        page = json.loads(get(f"{index.url}demo/", JSON)[1])
        _, metadata = get(index.url.replace("/simple/", page["files"][0]["url"]) + ".metadata")
    assert page["files"][0]["core-metadata"]["sha256"]
    assert b"Name: demo\n" in metadata
    assert index.requests[-1] == ("GET", index.file_path(built) + ".metadata")


def test_index_asks_for_credentials(files: Path) -> None:
    """An index with credentials refuses requests without them."""
    wheel(files, "demo", "1.0", GOOD)
    with LocalIndex(files, credentials=("u", "p")) as index:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{index.url}demo/")
        token = base64.b64encode(b"u:p").decode()
        request = urllib.request.Request(f"{index.url}demo/", headers={"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b"demo-1.0" in answer.read()
        assert "//u:p@127.0.0.1:" in index.authenticated_url


def test_index_faults(files: Path, index: LocalIndex) -> None:
    """A path fails by status, body, truncation or silence, for as many requests as asked."""
    path = index.page_path("demo")
    wheel(files, "demo", "1.0", GOOD)
    url = f"{index.url}demo/"

    index.inject(path, Fault(status=503, times=1))
    with pytest.raises(urllib.error.HTTPError, match="503"):
        get(url)
    assert b"demo-1.0" in get(url)[1]

    index.inject(path, Fault(body=b"{"))
    assert get(url)[1] == b"{"

    index.inject(path, Fault(keep=10))
    with pytest.raises(http.client.IncompleteRead):
        get(url)

    index.inject(path, Fault(stall=30.0))
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(url, timeout=0.2)


def fill_for_the_oracle(files: Path) -> None:
    """Write one release of ``demo`` for each thing that can happen to it."""
    wheel(files, "demo", "1", {**GOOD, "demo_space/part/__init__.py": "", "tests/__init__.py": "1 / 0"})
    wheel(files, "demo", "2", {"demo_space/part/__init__.py": "import missing"})
    wheel(files, "demo", "3", GOOD, requires_python="<3.9")
    wheel(files, "demo", "4", GOOD, tag="cp27-cp27m-win32")
    wheel(files, "demo", "5", GOOD, requires=["demo==99"])
    simple_sdist(files, "demo", "6", GOOD, universal=False)
    simple_sdist(files, "demo", "7", GOOD, fails="No solution found when resolving dependencies")
    wheel(files, "demo", "8", {"demo.py": "import sys; sys.exit(0)"})
    sdist(files, "demo", "9", {}, pyproject="[build-system]\nrequires = ['missing']\n")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("1", "passed", id="tests-are-not-imported"),
        pytest.param("2", "failed", id="import-error-in-namespace-package"),
        pytest.param("3", "skipped", id="upper-bound-of-requires-python"),
        pytest.param("4", "skipped", id="no-usable-file"),
        pytest.param("5", "skipped", id="no-solution"),
        pytest.param("6", "passed", id="sdist"),
        pytest.param("7", "failed", id="build-fails"),
        pytest.param("8", "failed", id="leaves-with-status-0"),
        pytest.param("9", "failed", id="build-requirement-missing"),
    ],
)
def test_oracle_judges(tmp_path: Path, files: Path, index: LocalIndex, version: str, expected: str) -> None:
    """The oracle says of each release what a person would find."""
    fill_for_the_oracle(files)
    assert judge("demo", version, HERE, cache=tmp_path, workdir=tmp_path, index_url=index.url) == expected


def test_oracle_builds_on_each_interpreter(tmp_path: Path, files: Path, index: LocalIndex) -> None:
    """A universal wheel that one interpreter built is not given to another, but is built once for each."""
    chosen = list(pythons().items())[-2:]
    if len(chosen) == 1:
        pytest.skip("only one interpreter is installed")
    counter = tmp_path / "builds"
    simple_sdist(files, "demo", "1", GOOD, counter=counter)
    for _, python in chosen * 2:
        assert judge("demo", "1", python, cache=tmp_path, workdir=tmp_path, index_url=index.url) == "passed"
    assert builds(counter) == [version for version, _ in chosen]


@pytest.mark.parametrize("path", ["page", "file"])
def test_oracle_does_not_judge_the_network(tmp_path: Path, files: Path, index: LocalIndex, path: str) -> None:
    """A page or a file that cannot be read is no verdict."""
    built = wheel(files, "demo", "1", GOOD)
    index.inject(index.page_path("demo") if path == "page" else index.file_path(built), Fault(status=404))
    with pytest.raises(OracleTrouble):
        judge("demo", "1", HERE, cache=tmp_path, workdir=tmp_path, index_url=index.url)
