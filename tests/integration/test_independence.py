"""A verdict depends on its own combination alone: not on what is planned beside it, the order of runs, or what caches hold."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_spip.common.cache import Cache
from pytest_spip.model import Combo, Plan, Provisioned, Refused
from tests.support import backend
from tests.support.distributions import Content, metadata_text, scripted, sdist, simple_sdist, wheel
from tests.support.index import LocalIndex
from tests.support.provisions import planned, provisioner
from tests.support.supply import Supply, steady

GOOD = {"demo.py": ""}
BACKEND = '[build-system]\nrequires = ["flit-core"]\nbuild-backend = "flit_core.buildapi"\n'
BACKEND += '[project]\nname = "demo"\nversion = "{version}"\n'
RING = '[build-system]\nrequires = ["{other}"]\nbuild-backend = "{other}"\n'
STAIN = "import sysconfig\npath = os.path.join(sysconfig.get_path('purelib'), 'stain.py')\n"
COPY = "import shutil\nreturn os.path.basename(shutil.copy('demo-{version}-py3-none-any.whl', directory))"


class World:
    """An index of everything that could leak from one combination into another, and caches to provision from."""

    def __init__(self, root: Path, index: LocalIndex, environ: pytest.MonkeyPatch) -> None:
        self.supply = Supply(root, index)
        self._environ = environ
        self._numbers = itertools.count()
        self._list_releases()
        for name, value in self.supply.environ.items():
            environ.setenv(name, value)
        self.plan = planned(self.supply, "demo", "other", interpreters=[self.supply.here(), self.supply.another()])
        self.alone = functools.cache(self._alone)
        self.warm = self._fresh()

    def _list_releases(self) -> None:
        files = self.supply.files
        self._list_backends()
        wheel(files, "demo", "1.0", GOOD, requires=["dep>=1"])
        self._declared("1.1", fails_with="1.0")
        self._declared("1.2", fails_with="2.0")
        self._declared("1.3", fails_with="none")
        simple_sdist(files, "demo", "1.4", GOOD, fails="no compiler")
        wheel(files, "demo", "1.5", GOOD, requires=["one"])
        wheel(files, "demo", "1.6", GOOD, requires=["two"])
        wheel(files, "demo", "1.7", GOOD, metadata_version="1.8")
        self._scripted("1.8", f"{STAIN}open(path, 'w').close()")
        self._scripted("1.9", f"{STAIN}assert not os.path.exists(path), 'somebody was here'")
        wheel(files, "other", "1.0", {"other.py": ""}, requires=["dep<2", "second"])
        wheel(files, "other", "2.0", {"other.py": ""}, requires=["dep==2.0"])
        wheel(files, "other", "3.0", {"other.py": ""}, requires=["second"])
        wheel(files, "other", "4.0", {"other.py": ""}, requires=["absent"])
        simple_sdist(files, "dep", "2.0", {"dep.py": ""}, requires=["second"])
        wheel(files, "dep", "1.0", {"dep.py": ""})
        simple_sdist(files, "second", "1.0", {"second.py": ""}, universal=False)
        for name, other in (("one", "two"), ("two", "one")):
            sdist(files, name, "1.0", {}, pyproject=RING.format(other=other))

    def _list_backends(self) -> None:
        """List a backend whose newest version only one of the two interpreters can use."""
        code = Path(backend.__file__).read_text().replace("Path(__file__).absolute().parent", "Path.cwd()")
        newer = max(self.supply.here().minor, self.supply.another().minor)
        for version, python in (("1.0", ""), ("2.0", ">={}.{}".format(*newer))):
            text = f"{code}\nif open('fails_with').read() == {version!r}:\n    raise RuntimeError('flit {version} cannot')\n"
            made = wheel(
                self.supply.files, "flit-core", version, {"flit_core/__init__.py": "", "flit_core/buildapi.py": text}
            )
            self.supply.index.add(made, requires_python=python)

    def _declared(self, version: str, fails_with: str) -> None:
        told = {"stem": f"demo-{version}", "metadata": metadata_text("demo", version, (), ""), "tag": "py3-none-any"}
        options = json.dumps({**told, "files": [], "fails": "", "counter": ""})
        files: dict[str, Content] = {"backend.json": options, "fails_with": fails_with}
        sdist(self.supply.files, "demo", version, files, pyproject=BACKEND.format(version=version))

    def _scripted(self, version: str, body: str) -> None:
        (self.supply.root / "made").mkdir(exist_ok=True)
        made = wheel(self.supply.root / "made", "demo", version, GOOD)
        body = f"{body}\n{COPY.format(version=version)}"
        scripted(self.supply.root, body, requires=["second"], files={made.name: made.read_bytes()}, version=version)
        shutil.move(self.supply.root / f"demo-{version}.tar.gz", self.supply.files)

    def _fresh(self) -> Path:
        """Return a directory for caches that hold nothing."""
        root = self.supply.root / f"caches-{next(self._numbers)}"
        shutil.copytree(self.supply.root / "uv", root / "uv")
        return root

    def _alone(self, ordinal: int) -> object:
        return self.verdicts([ordinal], cold=True)[ordinal]

    def verdicts(self, ordinals: Sequence[int], *, cold: bool) -> dict[int, object]:
        """Provision combinations in this order, and return what became of each, in a form that can be compared."""
        root = self._fresh() if cold else self.warm
        self.supply.cache = Cache(root / "cache")
        self._environ.setenv("UV_CACHE_DIR", str(root / "uv"))
        made: list[Provisioned] = []
        complete = threading.Event()

        def on_ready(done: Sequence[Provisioned]) -> None:
            made.extend(done)
            if len(made) >= len(ordinals):
                complete.set()

        pool = provisioner(self.supply, _only(self.plan, ordinals), on_ready)
        pool.start(self.plan.combos[ordinal] for ordinal in ordinals)
        assert complete.wait(120)
        pool.stop()
        if cold:
            shutil.rmtree(root)
        return {done.ordinal: _comparable(done) for done in made}


def _only(plan: Plan, ordinals: Sequence[int]) -> Plan:
    """Return a plan that knows no other combinations, releases and interpreters than these need."""
    combos = tuple(plan.combos[ordinal] for ordinal in ordinals)
    used = {combo.interpreter for combo in combos}
    named = {release for combo in combos for release in combo.releases}
    return dataclasses.replace(
        plan,
        combos=combos,
        interpreters=tuple(one for one in plan.interpreters if one.id in used),
        releases=tuple(one for one in plan.releases if (one.package, one.version) in named),
    )


def _comparable(done: Provisioned) -> object:
    if isinstance(done, Refused):
        return done.verdict
    return done.environment.fingerprint, done.environment.locked, done.environment.warnings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make the world, once for all examples."""
    root = tmp_path_factory.mktemp("world")
    (root / "files").mkdir()
    with LocalIndex(root / "files", core_metadata=True) as index, pytest.MonkeyPatch.context() as environ:
        yield World(root, index, environ)


def ids(world: World, version: str) -> list[Combo]:
    """Return the combinations of one release of ``demo``, the older interpreter first."""
    found = [combo for combo in world.plan.combos if (combo.package, combo.version) == ("demo", version)]
    return sorted(found, key=lambda combo: int(combo.label[3:]))


def test_backend_differs(world: World) -> None:
    """An sdist that only the newest backend builds fails where that cannot be used, and the reverse, whoever is beside it."""
    for version, failing in (("1.1", 0), ("1.2", 1)):
        combos = ids(world, version)
        for order in (combos, combos[::-1]):
            made = world.verdicts([combo.ordinal for combo in order], cold=True)
            assert "cannot" in str(made[combos[failing].ordinal])
            assert "cannot" not in str(made[combos[1 - failing].ordinal])


@settings(steady, max_examples=8)
@given(seed=st.integers(0, 2**32), size=st.integers(2, 16), cold=st.booleans())
def test_independence(world: World, seed: int, size: int, cold: bool) -> None:
    """Whatever is planned together, in whatever order, with whatever in the caches, has the verdict that it has alone."""
    ordinals = [combo.ordinal for combo in world.plan.combos]
    chosen = random.Random(seed).sample(ordinals, min(size, len(ordinals)))
    made = world.verdicts(chosen, cold=cold)
    assert {world.plan.combos[one].id: made[one] for one in chosen} == {
        world.plan.combos[one].id: world.alone(one) for one in chosen
    }
