"""Lines that show failures again: each is executed, and shows the same failure, from the same sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import PYTEST_WHEELS, installed, scripted, sdist, simple_sdist, wheel
from tests.support.index import LocalIndex
from tests.support.machine import Machine
from tests.support.reproducing import again, line_of

OURS = "raise ImportError('ours')\n"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """List a package whose import fails."""
    machine = make_machine()
    wheel(machine.files, "twin", "1.0", {"twin.py": OURS})
    return machine


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    """Serve what a stranger published under the same name, in the same version and in a newer one."""
    files = tmp_path_factory.mktemp("public")
    for version in ("1.0", "9.0"):
        wheel(files, "twin", version, {"twin.py": ""})
    with LocalIndex(files) as index:
        yield index


@pytest.fixture(scope="module")
def guarded(machine: Machine) -> Iterator[LocalIndex]:
    """Serve the machine's files to those who know the password."""
    with LocalIndex(machine.files, credentials=("user", "secret")) as index:
        yield index


WAYS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "UV_DEFAULT_INDEX": ({"UV_DEFAULT_INDEX": "{ours}"}, {}),
    "UV_INDEX_URL": ({"UV_INDEX_URL": "{ours}"}, {}),
    "UV_INDEX": ({"UV_INDEX": "{ours}", "UV_DEFAULT_INDEX": "{public}"}, {}),
    "UV_EXTRA_INDEX_URL": ({"UV_EXTRA_INDEX_URL": "{ours}", "UV_DEFAULT_INDEX": "{public}"}, {}),
    "UV_FIND_LINKS": ({"UV_FIND_LINKS": "{files}", "UV_NO_INDEX": "1"}, {}),
    "uv.toml": (
        {"UV_NO_CONFIG": ""},
        {"uv.toml": '[[index]]\nurl = "{ours}"\n[[index]]\nurl = "{public}"\ndefault = true\n'},
    ),
    "pyproject": ({"UV_NO_CONFIG": ""}, {"pyproject.toml": '[[tool.uv.index]]\nurl = "{ours}"\ndefault = true\n'}),
    "flat": (
        {"UV_NO_CONFIG": ""},
        {"uv.toml": 'no-index = true\n[[index]]\nurl = "{files}"\nformat = "flat"\n'},
    ),
    "PIP_INDEX_URL": ({"PIP_INDEX_URL": "{ours}", "PIP_EXTRA_INDEX_URL": "{public}"}, {}),
    "PIP_EXTRA_INDEX_URL": ({"PIP_EXTRA_INDEX_URL": "{ours}", "PIP_INDEX_URL": "{other}"}, {}),
    "PIP_NO_INDEX": ({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "{files}"}, {}),
    "pip.conf": (
        {"PIP_CONFIG_FILE": "{project}/pip.conf"},
        {"pip.conf": "[global]\nindex-url = {other}\nextra-index-url = {ours}\n"},
    ),
    "pip.conf-links": (
        {"PIP_CONFIG_FILE": "{project}/pip.conf"},
        {"pip.conf": "[install]\nno-index = true\nfind-links = {files}\n"},
    ),
}
"""By way to configure an index: variables, and files of the project."""


@pytest.mark.parametrize("way", WAYS)
def test_same_sources(machine: Machine, public: LocalIndex, make_machine: MakeMachine, way: str) -> None:
    """Wherever it is executed, the line takes the package from where the run did, and never a stranger's."""
    name = way.replace("_", "-")
    other = f"{public.url}".replace("simple", "nowhere")
    told = {"ours": machine.index.url, "public": public.url, "other": other, "files": str(machine.files)}
    told["project"] = str(machine.project_path(name))
    variables, files = WAYS[way]
    env = {
        "UV_DEFAULT_INDEX": "",
        "XDG_CONFIG_DIRS": "/nowhere",
        **{key: value.format(**told) for key, value in variables.items()},
    }
    written = {path: _filled(text, told) for path, text in files.items()}
    machine.project(name, {"pytest.ini": "[pytest]\n", **written})
    done = machine.run("--spip-matrix=twin==1.0", project=name, env=env)
    line = line_of(done, "twin[1.0")
    before = len(public.requests)
    elsewhere = machine.project_path(name) / "elsewhere"
    elsewhere.mkdir()
    seen = again(machine, line, f"{name}/elsewhere", {"UV_DEFAULT_INDEX": "", "UV_NO_CONFIG": "1"})
    assert "ImportError: ours" in seen.stderr, (line, seen.stderr)
    assert not [path for _, path in public.requests[before:] if path.startswith("/files/")]


def _filled(text: str, told: Mapping[str, str]) -> str:
    for key, value in told.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def test_credentials(machine: Machine, public: LocalIndex, guarded: LocalIndex) -> None:
    """Credentials are in no line: what needs them is for us to repeat, with the settings that hold them."""
    env = {"UV_INDEX": guarded.authenticated_url, "UV_DEFAULT_INDEX": public.url}
    done = machine.run("--spip-matrix=twin==1.0", project="credentials", env=env)
    line = line_of(done, "twin[1.0")
    assert "secret" not in done.written + done.stdout
    assert line.startswith("pytest 'spip::twin[1.0-"), line
    seen = again(machine, line, "credentials", env)
    assert "ImportError: ours" in seen.stdout, seen.stdout + seen.stderr
    assert not [path for _, path in public.requests if path.startswith("/files/")]


def test_settings_that_no_command_line_takes(machine: Machine) -> None:
    """A release that fails for a constraint of the user's is shown again with that constraint."""
    for version, text in (("1.0", OURS), ("2.0", "")):
        wheel(machine.files, "deep", version, {"deep.py": text})
    wheel(machine.files, "needs", "1.0", {"needs.py": "import deep\n"}, requires=["deep"])
    machine.project("constrained", {"limits.txt": "deep<2\n"})
    env = {"UV_CONSTRAINT": "limits.txt"}
    done = machine.run("--spip-matrix=needs", project="constrained", env=env)
    seen = again(machine, line_of(done, "needs[1.0"), "constrained", env)
    assert "ImportError: ours" in seen.stdout, seen.stdout + seen.stderr


NETWORK = "import socket\nsocket.create_connection(('192.0.2.1', 9), 1)\n"
FAILURES: dict[str, tuple[list[str], str]] = {
    "network in an import": (["--spip-matrix=online"], "Network is unreachable"),
    "network in a build": (["--spip-matrix=fetcher"], "Network is unreachable"),
    "limit": (["--spip-matrix=endless", "--spip-timeout=3"], "no end after 3 s"),
    "wrong hash in RECORD": (["--spip-matrix=tampered"], "didn't match RECORD"),
    "command": (["--spip-command=python -c 'import bad; bad.fail()'"], "ValueError: by command"),
    "suite": (["--spip-check=suite", "--spip-with=six"], "test_bad.py::test_it"),
    "build": (["--spip-matrix=unbuilt"], "no compiler here"),
}
"""By kind: what is asked for, and what both the run and the line show."""


@pytest.fixture(scope="module")
def failing(machine: Machine) -> Machine:
    """Serve what fails in each way, made once: a listing is kept for a while, with the hashes of its files."""
    code = "def fail():\n    raise ValueError('by command')\n"
    tests = "import bad, six\ndef test_it():\n    bad.fail()\n"
    for name in PYTEST_WHEELS:
        if name != "six":
            installed(machine.files, name)
    wheel(machine.files, "six", "1.0", {"six.py": ""})
    wheel(machine.files, "bad", "1.0", {"bad.py": code})
    sdist(machine.files, "bad", "1.0", {"bad.py": code, "test_bad.py": tests})
    simple_sdist(machine.files, "unbuilt", "1.0", {"unbuilt.py": ""}, fails="no compiler here")
    wheel(machine.files, "online", "1.0", {"online.py": NETWORK})
    scripted(machine.files, NETWORK, name="fetcher")
    wheel(machine.files, "endless", "1.0", {"endless.py": "while True: pass\n"})
    wheel(machine.files, "tampered", "1.0", {"tampered.py": ""}, extra_dist_info={"RECORD": "tampered.py,sha256=x,0\n"})
    return machine


@pytest.mark.parametrize("kind", FAILURES)
def test_kinds_of_failures(failing: Machine, kind: str) -> None:
    """Whatever fails is shown again by its line, with all that the run was told."""
    words, told = FAILURES[kind]
    matrix = [] if words[0].startswith("--spip-matrix=") else ["--spip-matrix=bad"]
    done = failing.run(*matrix, *words, project=f"kind-{kind.replace(' ', '-')}")
    (one,) = done.combinations.values()
    assert one["outcome"] in ("failed", "killed"), done.stdout + done.stderr
    seen = again(failing, one["reproduce"], f"kind-{kind.replace(' ', '-')}", {})
    assert told in done.stdout, done.stdout
    assert told in seen.stdout + seen.stderr, (one["reproduce"], seen.stdout, seen.stderr)
    assert seen.returncode != 0
