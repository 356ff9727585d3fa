"""The independent oracle: what a person gets with ``uv venv``, ``uv pip install`` and a cold import.

It shares no code with pytest_spip, so that the two cannot be wrong together.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import hashlib
import html.parser
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import packaging.specifiers
import packaging.utils
import packaging.version
import uv

__all__ = ["PYPI", "OracleTrouble", "Verdict", "judge", "public_modules"]

Verdict = Literal["passed", "failed", "skipped"]
Files = Sequence[tuple[str, ...]]

PYPI = "https://pypi.org/simple/"
SIMPLE_API = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
NOT_PUBLIC = frozenset({"tests", "test", "docs", "doc", "examples", "example", "benchmarks", "benchmark"})
ACCIDENTS = re.compile(r"conftest|ez_setup|fabfile|noxfile|samples|scripts|setup|tools|tutorials|versioneer|test_\w+")
"""Top-level names that wheels hold by mistake, beside what they are about."""

INSTALL_SECONDS = 1800.0
IMPORT_SECONDS = 60.0

CONNECTION = re.compile(r"(?i)SSL_CERT_FILE|SSL_CERT_DIR|(?:HTTPS?|ALL|NO)_PROXY")
TROUBLE = re.compile(
    "(?i)failed to fetch|request failed after|error sending request|HTTP status (?:client|server) error|dns error|"
    "tcp connect|timed out|connection (?:reset|closed|refused)|could not be queried|no space left|panicked at"
)
NO_SOLUTION = re.compile(r"(?m)^\s*(?:\u00d7|error:) No solution found when resolving dependencies")
TOOL_OUTPUT = re.compile(r"(?m)^\s*\[(?:stdout|stderr)\]\s*$")

PROBE = """\
import importlib.machinery, json, platform, sys
version = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps([platform.python_implementation(), version, importlib.machinery.all_suffixes()]))
"""


class OracleTrouble(Exception):
    """The oracle could not judge: the network, the index, or uv itself failed."""


def judge(
    package: str,
    version: str,
    python: Path,
    modules: Sequence[str] | None = None,
    *,
    cache: Path,
    workdir: Path,
    exclude_newer: str | None = None,
    index_url: str = PYPI,
) -> Verdict:
    """Say whether a release works on an interpreter; raises :class:`OracleTrouble` when that cannot be told.

    ``modules`` are what must import, by default every public top-level module that the release installs.

    Below ``cache`` each interpreter has a uv cache of its own. In a common one, uv would give the universal wheel that
    one Python built from an sdist to all others, which hides that the sdist does not build on them.

    Requires-Python is read from the index as well, because uv ignores its upper bounds, though the core metadata
    specification gives them the same force as the lower ones.
    """
    with tempfile.TemporaryDirectory(prefix="oracle-", dir=workdir, ignore_cleanup_errors=True) as directory:
        site = _Site(python, Path(directory), cache)
        if not _limit(_requires_python(index_url, package, version), site.target.version):
            return "skipped"
        refused = _install(site, f"{package}=={version}", index_url, exclude_newer)
        return refused or _try(site, package, version, modules)


@dataclasses.dataclass(frozen=True)
class _Target:
    """An interpreter as it describes itself: ``suffixes`` are those of the module files that it imports."""

    implementation: str
    version: str
    suffixes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Ended:
    """How a command ended: exit status, negative for a signal, and its output."""

    status: int
    output: str


@dataclasses.dataclass(frozen=True)
class _Site:
    """The place of one judgement: a directory with home, working directory and environment, and a uv cache."""

    python: Path
    directory: Path
    caches: Path

    @functools.cached_property
    def target(self) -> _Target:
        """The interpreter, asked once."""
        answer = subprocess.run([self.python, "-I", "-c", PROBE], check=True, capture_output=True, text=True)
        implementation, version, suffixes = json.loads(answer.stdout)
        return _Target(implementation, version, tuple(suffixes))

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.directory / "venv"

    @property
    def packages(self) -> Path:
        """The environment's site-packages directory; ``lib64`` is a link to ``lib``."""
        return next(self.venv.glob("lib/*/site-packages"))

    @property
    def cache(self) -> Path:
        """The uv cache of this interpreter and of no other."""
        identity = hashlib.sha256(str(self.python.resolve()).encode()).hexdigest()[:16]
        return self.caches / f"{self.target.implementation.lower()}-{self.target.version}-{identity}"

    def uv(self, *arguments: str | Path) -> _Ended:
        """Run uv with nobody's configuration."""
        settings = {
            "UV_CACHE_DIR": str(self.cache),
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy",  # a package that writes into its own directory would write into the cache
        }
        connection = {name: value for name, value in os.environ.items() if CONNECTION.fullmatch(name)}
        return self._run([uv.find_uv_bin(), *arguments], INSTALL_SECONDS, connection | settings)

    def cold(self, code: str) -> _Ended:
        """Run code with the environment's interpreter."""
        return self._run([self.venv / "bin" / "python", "-c", code], IMPORT_SECONDS, {})

    def _run(self, command: Sequence[str | Path], seconds: float, extra: Mapping[str, str]) -> _Ended:
        """Run a command in the empty working directory with a clean environment; past its time it ends by SIGKILL."""
        home, cwd = self.directory / "home", self.directory / "cwd"
        for each in (home, cwd):
            each.mkdir(exist_ok=True)
        path = f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        env = {"HOME": str(home), "TMPDIR": str(home), "PATH": path, "LANG": "C.UTF-8", **extra}
        return _run(command, seconds, env, cwd, self.directory / "output")


def _run(command: Sequence[str | Path], seconds: float, env: Mapping[str, str], cwd: Path, log: Path) -> _Ended:
    """Run a command in a process group of its own, none of which outlives it.

    The output goes to a file, because daemons left behind would keep a pipe open.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    return _Ended(status, log.read_text(encoding="utf-8", errors="replace"))


def _install(site: _Site, requirement: str, index_url: str, exclude_newer: str | None) -> Verdict | None:
    """Install the requirement into a fresh environment, or say what the failure means for the release."""
    made = site.uv("venv", "--python", site.python, site.venv)
    if made.status != 0:
        raise OracleTrouble(made.output)
    newest = () if exclude_newer is None else ("--exclude-newer", exclude_newer)
    done = site.uv("pip", "install", "--python", site.venv, "--default-index", index_url, *newest, requirement)
    return None if done.status == 0 else _blame(done.output)


def _blame(output: str) -> Verdict:
    """Tell from uv's own lines, those before a build's output, what a failed installation means."""
    own = TOOL_OUTPUT.split(output, maxsplit=1)[0]
    if TROUBLE.search(own):
        raise OracleTrouble(output)
    return "skipped" if NO_SOLUTION.search(own) else "failed"


def _try(site: _Site, package: str, version: str, modules: Sequence[str] | None) -> Verdict:
    """Check what was installed, then import it."""
    installed = _installed(site.packages, package)
    if installed is None or packaging.version.Version(installed.version) != packaging.version.Version(version):
        return "failed"
    if not _limit(installed.metadata.get_all("Requires-Python", [""]), site.target.version):
        return "skipped"
    names = meant(public_modules(installed, site.target.suffixes), package) if modules is None else modules
    return "passed" if _imports(site, names) else "failed"


def meant(modules: Sequence[str], package: str) -> Sequence[str]:
    """Return the modules without accidents, or all where there is nothing else; what bears the package's name is none."""
    own = packaging.utils.canonicalize_name(package).replace("-", "_")
    tops = {module: module.partition(".")[0] for module in modules}
    return [name for name in modules if not ACCIDENTS.fullmatch(tops[name]) or tops[name].lower() == own] or modules


def _imports(site: _Site, modules: Iterable[str]) -> bool:
    """Tell whether all modules import in one cold process; the mark betrays one that left with status 0 half-way."""
    mark = site.directory / "imported"
    statements = [f"import {module}" for module in modules]
    return site.cold("; ".join([*statements, f"open({str(mark)!r}, 'w').close()"])).status == 0 and mark.exists()


def _installed(packages: Path, package: str) -> importlib.metadata.Distribution | None:
    """Return the distribution that uv installed under the package's name: wheels may carry old metadata along as files."""
    wanted = packaging.utils.canonicalize_name(package)
    found = (each for each in importlib.metadata.distributions(path=[str(packages)]) if each.read_text("INSTALLER"))
    return next((each for each in found if packaging.utils.canonicalize_name(each.name) == wanted), None)


def public_modules(distribution: importlib.metadata.Distribution, suffixes: Sequence[str]) -> list[str]:
    """Return the public top-level modules that RECORD lists, namespace packages by their first real subpackages."""
    record = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    paths = [tuple(row[0].split("/")) for row in record if row]
    return sorted(set(_top_level([path for path in paths if path[0] not in ("", "..")], suffixes)))


def _top_level(files: Files, suffixes: Sequence[str]) -> Iterator[str]:
    """Yield the names of modules and packages that lie in site-packages itself."""
    zygotes = (_zygote(path[0], suffixes) for path in files if len(path) == 1)
    yield from filter(_public, zygotes)
    for name, below in _directories(files).items():
        yield from _packages(name, below, suffixes)


def _packages(name: str, files: Files, suffixes: Sequence[str]) -> Iterator[str]:
    """Yield the package's name, or those of its first real subpackages when it has no ``__init__``."""
    if any(len(path) == 1 and _zygote(path[0], suffixes) == "__init__" for path in files):
        yield name
        return
    for child, below in _directories(files).items():
        yield from _packages(f"{name}.{child}", below, suffixes)


def _directories(files: Files) -> dict[str, list[tuple[str, ...]]]:
    """Return the files of each directory with a public name, relative to it."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for path in files:
        if len(path) > 1 and _public(path[0]):
            found.setdefault(path[0], []).append(path[1:])
    return found


def _zygote(filename: str, suffixes: Sequence[str]) -> str:
    """Return the name of the module that the file holds for this interpreter, empty for none."""
    ending = next((suffix for suffix in sorted(suffixes, key=len, reverse=True) if filename.endswith(suffix)), "")
    return filename.removesuffix(ending) if ending else ""


def _public(name: str) -> bool:
    """Tell whether a name is meant to be imported by others."""
    return name.isidentifier() and not name.startswith("_") and name not in NOT_PUBLIC


def _limit(specifiers: Iterable[str], python: str) -> bool:
    """Tell whether one of the Requires-Python admits the Python, or none was given at all.

    One that is not a valid specifier set restricts nothing, as with installers.
    """
    verdicts = [_admits(specifier, python) for specifier in specifiers]
    return any(verdicts) or not verdicts


def _admits(specifier: str, python: str) -> bool:
    """Tell whether both bounds of one Requires-Python admit the Python."""
    try:
        return packaging.specifiers.SpecifierSet(specifier).contains(python, prereleases=True)
    except packaging.specifiers.InvalidSpecifier:
        return True


def _requires_python(index_url: str, package: str, version: str) -> list[str]:
    """Return Requires-Python of each wheel and sdist of the release, as the index lists them."""
    wanted = packaging.version.Version(version)
    listed = _listed(urllib.parse.urljoin(index_url, packaging.utils.canonicalize_name(package) + "/"))
    return [specifier for filename, specifier in listed if _version(filename) == wanted]


def _version(filename: str) -> packaging.version.Version | None:
    """Return the version of a wheel or sdist, ``None`` for other files and for names that break the rules."""
    parse = packaging.utils.parse_wheel_filename if filename.endswith(".whl") else packaging.utils.parse_sdist_filename
    try:
        return parse(filename)[1]
    except (packaging.utils.InvalidWheelFilename, packaging.utils.InvalidSdistFilename):
        return None


def _listed(url: str) -> list[tuple[str, str]]:
    """Return (filename, Requires-Python) of each file on a project's page."""
    request = urllib.request.Request(url, headers={"Accept": SIMPLE_API})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read().decode()
            if answer.headers.get_content_type().endswith("json"):
                return [(file["filename"], file.get("requires-python") or "") for file in json.loads(body)["files"]]
            return _Anchors.read(body)
    except (OSError, ValueError, KeyError) as problem:  # URLError is an OSError, broken JSON or text a ValueError
        raise OracleTrouble(f"{url}: {problem}") from problem


class _Anchors(html.parser.HTMLParser):
    """Collects the files of a project's page in HTML (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    @classmethod
    def read(cls, page: str) -> list[tuple[str, str]]:
        """Return (filename, Requires-Python) of each file on the page."""
        parser = cls()
        parser.feed(page)
        parser.close()
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link: its path's last part is the filename."""
        attributes: dict[str, Any] = dict(attrs)
        if tag == "a" and attributes.get("href"):
            path = urllib.parse.urlsplit(attributes["href"]).path
            filename = urllib.parse.unquote(path.rpartition("/")[2])
            self.found.append((filename, attributes.get("data-requires-python") or ""))
