"""Real projects beside releases of what they need, test by test, against tox's way: ``python -m benchmarks.projects``.

Each project is taken from its sdist. ``pytest-spip run`` runs its suite beside four releases of a dependency on two Pythons. Each
combination is judged again as tox would do it: a fresh environment, a wheel of the project, its test requirements, and pytest as a
program of its own in a copy of the checkout, as a user who is not root. Ids and outcomes of all tests are compared.

The exit status is 1 when a test ended otherwise, 2 when a project gave nothing to compare.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import UV, Ended, run, uv_environment
from benchmarks.matrix import PYPI, Unmeasurable, workplace
from benchmarks.tables import say, table

__all__ = ["main"]

PYTHONS = "3.11,3.13"
VERSIONS = "4"
UNPRIVILEGED = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Starts a program as another user than root who may reach what root owns, such as interpreters in its home."""
SIMPLE_API = "application/vnd.pypi.simple.v1+json"
RECORDER = Path(__file__).with_name("recorder.py")
SUITE_SECONDS = 600.0
WITH = "--spip-with="
Ends = Counter[tuple[str, str]]
"""Pairs of a test's id and its outcome."""


@dataclasses.dataclass(frozen=True)
class Real:
    """A project: the release whose sdist is taken, the requirement that is varied, and further options of ours."""

    name: str
    version: str
    varied: str
    options: tuple[str, ...] = ()
    traits: str = ""


PROJECTS = (
    Real("aiofiles", "25.1.0", "pytest-asyncio", traits="hatch, async"),
    Real(
        "aiosignal",
        "1.4.0",
        "frozenlist",
        ("--spip-with=pytest-cov", "--spip-with=pytest-asyncio"),
        traits="setuptools, async, a dependency in C",
    ),
    Real("argon2-cffi-bindings", "26.2.0", "cffi", traits="C extension by scikit-build-core, src"),
    Real("asgiref", "3.11.1", "pytest-asyncio", traits="setuptools, async, threads"),
    Real("build", "1.6.1", "pyproject-hooks", traits="flit, src, calls pip and uv"),
    Real("dep-logic", "0.7.2", "packaging", traits="pdm, src"),
    Real("flask-wtf", "1.3.0", "wtforms", traits="hatch, src"),
    Real("h2", "4.4.1", "hpack", traits="setuptools, src, hypothesis"),
    Real("importlib-resources", "7.1.0", "zipp", traits="setuptools-scm, tests in the package"),
    Real("inflect", "7.6.0", "typeguard", traits="setuptools-scm, doctests"),
    Real("jaraco-functools", "4.6.0", "more-itertools", traits="namespace package, doctests, tests at the top"),
    Real("jaraco-text", "4.3.0", "more-itertools", traits="namespace package, doctests, data files"),
    Real("josepy", "2.2.0", "cryptography", traits="poetry, src, files called *_test.py, cryptography"),
    Real("mako", "1.4.3", "markupsafe", traits="setuptools, tests in test/, templates as data"),
    Real("pyjwt", "2.10.1", "cryptography", traits="setuptools, cryptography, data files"),
    Real("pytest-flask", "1.3.0", "flask", traits="a plugin of pytest, setuptools-scm, pytester"),
    Real("pytest-freezer", "0.4.9", "freezegun", traits="a plugin of pytest, flit, one module"),
    Real("pytest-localserver", "0.9.0", "werkzeug", traits="a plugin of pytest, sockets"),
    Real(
        "referencing",
        "0.37.0",
        "rpds-py",
        ("--spip-with=jsonschema",),
        traits="hatch-vcs, tests in the package, a dependency in Rust",
    ),
    Real("service-identity", "26.1.0", "cryptography", traits="hatch, src, cryptography"),
    Real("sniffio", "1.3.1", "anyio", traits="tests in a private subpackage"),
    Real("tomlkit", "0.13.3", "pyyaml", traits="poetry, flat, submodule of test data"),
    Real(
        "trustme",
        "1.2.1",
        "cryptography",
        ("--spip-with=service-identity", "--spip-with=pyopenssl"),
        traits="hatch, src, sockets, cryptography",
    ),
    Real("unearth", "0.18.2", "packaging", traits="pdm, src, a plugin for HTTP fixtures"),
    Real("werkzeug", "3.1.9", "markupsafe", traits="flit, src, starts servers"),
    Real("wrapt", "2.5.1", "pytest", traits="C extension, src"),
    Real("wsproto", "1.3.2", "h11", traits="setuptools, src"),
    Real("zipp", "4.1.2", "more-itertools", traits="setuptools-scm, doctests"),
)
"""None of them was used while pytest-spip was written."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """One combination: its report here, how its tests ended here and there, or why there is nothing to compare."""

    plain: Mapping[str, Any]
    here: Ends
    there: Ends
    trouble: str = ""

    @property
    def differences(self) -> list[str]:
        """One line for each test that did not end alike."""
        theirs = dict(self.there.keys())
        ours = dict(self.here.keys())
        names = dict.fromkeys((*ours, *theirs))
        return [
            f"{self.plain['id']}: {name}: {ours.get(name, 'not there')} here, {theirs.get(name, 'not there')} as by tox"
            for name in names
            if ours.get(name) != theirs.get(name)
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and judge the projects, print what differs and return the exit status."""
    arguments = parsed(argv)
    chosen = [one for one in PROJECTS if not arguments.only or one.name in arguments.only]
    rows, failure_texts, missing = [], [], 0
    with workplace(arguments) as directory:
        for real in chosen:
            try:
                judged = list(compare(real, arguments, directory / real.name))
            except Unmeasurable as failure:
                missing += 1
                failure_texts.append(f"{real.name}: nothing to compare: {failure}")
                rows.append([real.name, *["-"] * 5, real.traits])
                continue
            differences = [line for one in judged for line in one.differences]
            failure_texts += differences + [f"{one.plain['id']}: {one.trouble}" for one in judged if one.trouble]
            rows.append(row_of(real, judged, len(differences)))
            say(f"{real.name}: {len(judged)} suites, {len(differences)} differences")
    head = ["project", "planned", "suites", "tests", "not passed", "otherwise", "traits"]
    print("\n".join([*table([head, *rows]), *failure_texts]))
    total = sum(int(row[5]) for row in rows if row[5] != "-")
    print(f"{len(chosen)} projects, {total} differences, {missing} without anything to compare")
    return 2 if missing else int(total > 0)


def row_of(real: Real, judged: Sequence[Judged], differences: int) -> list[str]:
    """Return a project's row of the table."""
    run_here = [one for one in judged if not one.trouble]
    tests = Counter(outcome for one in run_here for _, outcome in one.here)
    numbers = (len(judged), len(run_here), tests.total(), tests.total() - tests["passed"], differences)
    return [real.name, *map(str, numbers), real.traits]


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Compare suites of real projects with tox's way, test by test.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the list in this file")
    parser.add_argument("--python", default=PYTHONS, help=f"as --spip-python ({PYTHONS})")
    parser.add_argument("--versions", default=VERSIONS, help=f"releases of the dependency ({VERSIONS})")
    parser.add_argument("--index-url", default=PYPI, metavar="URL", help="the one index that everything reads")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keep everything there (a temporary one)")
    return parser.parse_args(argv)


def compare(real: Real, arguments: argparse.Namespace, directory: Path) -> Iterator[Judged]:
    """Run a project's matrix and yield each combination judged; raises ``Unmeasurable``."""
    checkout = unpacked(real, arguments.index_url, directory)
    before = time.perf_counter()
    report = ours(real, arguments, checkout, directory)
    say(f"{real.name}: {len(report['combinations'])} combinations in {time.perf_counter() - before:.0f} s")
    pythons = {one["id"]: one["path"] for one in report["interpreters"]}
    tried = [one for one in report["combinations"] if one["outcome"] != "skipped"]
    if not tried:
        raise Unmeasurable("; ".join(dict.fromkeys(one["detail"] for one in report["combinations"])))
    needs = report["run"]["project"]["needs"]

    def judged(plain: Mapping[str, Any]) -> Judged:
        here = Counter((test["id"], test["outcome"]) for test in plain.get("tests", ()))
        try:
            there = cold(real, plain, needs, pythons[plain["interpreter"]], checkout, arguments, directory)
            if here != there:  # what ends otherwise the second time, too, is no difference of ours
                again = cold(real, plain, needs, pythons[plain["interpreter"]], checkout, arguments, directory)
                steady = {name for name, _ in here.keys() | there.keys()} - {
                    name for name, _ in (there - again) + (again - there)
                }
                here, there = (_only(ends, steady) for ends in (here, there))
        except Unmeasurable as failure:
            ended = f"{plain['outcome']} {plain['reason']}: {plain['detail']}"
            return Judged(plain, Counter(), Counter(), f"here {ended}; as by tox: {failure}")
        return Judged(plain, here, there)

    with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
        yield from pool.map(judged, tried)


def _only(ends: Ends, names: Collection[str]) -> Ends:
    return Counter({pair: count for pair, count in ends.items() if pair[0] in names})


def unpacked(real: Real, index_url: str, directory: Path) -> Path:
    """Return a checkout of a project: its sdist, unpacked under its own name."""
    checkout = directory / "checkout" / real.name
    if checkout.exists():
        return checkout
    with urllib.request.urlopen(_asked(f"{index_url.rstrip('/')}/{real.name}/"), timeout=60) as answer:
        page, base = json.load(answer), answer.url
    name = f"{real.name.replace('-', '_')}-{real.version}.tar.gz"
    found = [file for file in page["files"] if file["filename"].replace("-", "_") == name.replace("-", "_")]
    if not found:
        raise Unmeasurable(f"no {name}")
    with urllib.request.urlopen(urllib.parse.urljoin(base, found[0]["url"]), timeout=60) as answer:
        archive = io.BytesIO(answer.read())
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(directory / "sdist", filter="data")
    (top,) = (directory / "sdist").iterdir()
    checkout.parent.mkdir(parents=True, exist_ok=True)
    top.rename(checkout)
    return checkout


def _asked(url: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Accept": SIMPLE_API})


def ours(real: Real, arguments: argparse.Namespace, checkout: Path, directory: Path) -> dict[str, Any]:
    """Return the JSON report of the project's matrix; raises ``Unmeasurable``."""
    report = directory / "report.json"
    report.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest_spip.cli", "run", f"--spip-matrix={real.varied}", "--spip-project=."),
        *(f"--spip-versions={arguments.versions}", f"--spip-python={arguments.python}", f"-n{arguments.workers}"),
        *("--spip-network", f"--spip-report=json:{report}", *real.options),
    ]
    done = run(command, checkout, uv_environment(arguments.index_url, directory.parent / "uv-ours"))
    (directory / "ours.log").write_text(done.output, "utf-8")
    if not report.exists():
        raise Unmeasurable(done.output.strip()[-600:])
    plain: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return plain


def cold(
    real: Real,
    plain: Mapping[str, Any],
    needs: Mapping[str, Sequence[str]],
    python: str,
    checkout: Path,
    arguments: argparse.Namespace,
    directory: Path,
) -> Ends:
    """Judge one combination as tox would; raises ``Unmeasurable`` where it installs or says nothing."""
    place = directory / "cold" / plain["id"].replace("[", "-").replace("]", "")
    shutil.rmtree(place, ignore_errors=True)
    work = place / "work" / checkout.name
    shutil.copytree(checkout, work, symlinks=True, ignore=shutil.ignore_patterns(".spip", ".pytest_cache"))
    env = uv_environment(arguments.index_url, directory.parent / f"uv-tox-{plain['python']}")
    extras = f"[{','.join(needs['extras'])}]" if needs["extras"] else ""
    shutil.copytree(work, place / "source", symlinks=True)
    installed(place, (UV, "venv", "-q", "--python", python, "venv"), env)
    installed(place, (UV, "build", "-q", "--wheel", "--python", python, "-o", "dist", "source"), env)
    (wheel,) = (place / "dist").glob("*.whl")
    pinned = f"{plain['package']}=={plain['version']}"
    extra_requirements = [option.removeprefix(WITH) for option in real.options if option.startswith(WITH)]
    wanted = (f"{wheel}{extras}", pinned, *needs["requirements"], *extra_requirements, "pytest")
    installed(place, (UV, "pip", "install", "-q", "--python", "venv", *wanted), env)
    shutil.copy(RECORDER, next((place / "venv").glob("lib/*/site-packages")) / RECORDER.name)
    done = recorded(place, work)
    kept = place / "home" / "tests.json"
    if not kept.exists():
        raise Unmeasurable(done.output.strip()[-600:])
    return Counter(tuple(pair) for pair in json.loads(kept.read_text("utf-8")))


def installed(place: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a command of uv's; raises ``Unmeasurable`` where it fails."""
    done = run(command, place, env)
    if done.status != 0:
        raise Unmeasurable(done.output.strip()[-600:])


def recorded(place: Path, work: Path) -> Ended:
    """Run pytest in a copy of the checkout, as nobody in particular."""
    home = place / "home"
    home.mkdir()
    bare = {
        "PATH": f"{place / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "VIRTUAL_ENV": str(place / "venv"),
        "RECORD_TESTS_IN": str(home / "tests.json"),
    }
    with (place / "pytest.log").open("w+", encoding="utf-8") as log:
        command = [
            *(UNPRIVILEGED if os.getuid() == 0 else ()),
            str(place / "venv" / "bin" / "pytest"),
            "-p",
            "recorder",
        ]
        done = subprocess.run(
            command, cwd=work, env=bare, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
            timeout=SUITE_SECONDS,
        )  # fmt: skip  # one call
        log.seek(0)
        return Ended(done.returncode, log.read())


if __name__ == "__main__":
    sys.exit(main())
