"""Which modules a wheel offers for import."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.provision.modules import modules_to_import, public_modules
from tests.support import oracle
from tests.support.distributions import wheel
from tests.support.supply import steady

SO = "cpython-312-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("paths", "modules"),
    [
        pytest.param("demo.py", "demo", id="module"),
        pytest.param("demo/__init__.py demo/a.py demo/sub/__init__.py", "demo", id="package"),
        pytest.param(f"a.so b.abi3.so c.{SO} d.pypy310-pp73-x86_64-linux-gnu.so", "a b c d", id="extensions"),
        pytest.param(f"demo/__init__.{SO} demo/data.json", "demo", id="extension-package"),
        pytest.param("a.pyc b/__init__.pyc", "a b", id="without-sources"),
        pytest.param(f"demo.py demo.{SO} demo.pyi", "demo", id="once"),
        pytest.param("libdemo.1.so demo.v2.py a.pyd b.pyi c.txt", "", id="files-that-no-import-finds"),
        pytest.param("_demo.py __main__.py _demo/__init__.py", "", id="private"),
        pytest.param("my-demo.py 2demo/__init__.py class.py", "", id="no-identifiers"),
        pytest.param("demo-1.0.dist-info/METADATA demo.libs/libx.so demo.py", "demo", id="metadata-and-libraries"),
        pytest.param("demo.py tests/__init__.py docs/conf.py examples.py", "demo", id="not-for-import"),
        pytest.param("demo.py demo_tests/__init__.py", "demo demo_tests", id="other-names"),
        pytest.param("space/one/__init__.py space/two/__init__.py", "space.one space.two", id="namespace"),
        pytest.param(
            "space/deep/one/__init__.py space/deep/one/two/__init__.py", "space.deep.one", id="namespaces-nest"
        ),
        pytest.param("space/one/__init__.py space/loose.py", "space.one", id="packages-before-modules"),
        pytest.param("space/one.py space/two.so", "space.one space.two", id="namespace-of-modules"),
        pytest.param("space/one.py space/one.pyi space/py.typed", "space.one", id="namespace-of-typed-modules"),
        pytest.param("space/deep/one.py", "space.deep.one", id="nested-namespace-of-modules"),
        pytest.param("scripts/run.py scripts/README.txt demo.py", "demo", id="scripts-in-a-stray-directory"),
        pytest.param("space/one.py space/data/x.json", "", id="modules-beside-data"),
        pytest.param("space/tests/__init__.py space/one/__init__.py", "space.one", id="tests-in-a-namespace"),
        pytest.param("space/deep/docs/__init__.py space/examples/one.py", "", id="nothing-but-tests-and-docs"),
        pytest.param("space/one.py space/tests/__init__.py", "", id="modules-beside-tests"),
        pytest.param("space/_one/__init__.py", "", id="private-in-a-namespace"),
        pytest.param("share/data/x.json etc/demo.conf", "", id="directories-without-python"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_public_modules(paths: str, modules: str) -> None:
    """A wheel offers its public modules and packages, namespaces by what they hold, and no tests, docs or examples."""
    assert tuple(modules.split()) == public_modules(paths.split())


@pytest.mark.parametrize(
    ("paths", "project", "modules"),
    [
        ("demo.py conftest.py setup.py noxfile.py scripts/run.py tools/__init__.py test_demo.py", "demo", "demo"),
        ("setup.py", "demo", "setup"),
        ("tools/__init__.py setup.py", "demo", "setup tools"),
        ("tools/__init__.py setup.py", "tools", "tools"),
        ("tests/__init__.py docs/__init__.py", "demo", "docs tests"),
        ("demo.py tests/__init__.py", "demo", "demo"),
        ("demo.py examples/__init__.py", "Examples", "demo examples"),
        ("scripts/run.py scripts/README.txt", "demo", ""),
    ],
)
def test_modules_to_import(paths: str, project: str, modules: str) -> None:
    """What lies at the top by accident is left out, unless there is nothing else, or the project bears its name."""
    assert modules_to_import(paths.split(), project) == tuple(modules.split())


NAMES = st.sampled_from(["demo", "other", "_private", "tests", "docs"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True)


@steady
@given(PATHS)
def test_packages_agree_with_the_oracle(packages: list[str]) -> None:
    """Where a wheel holds nothing but packages, the oracle, which shares no code with us, finds the same."""
    files = [(*package.split("/"), "__init__.py") for package in packages]
    found = sorted(oracle._top_level(files, [".py"]))
    assert tuple(found) == public_modules("/".join(path) for path in files)


@steady
@given(st.lists(st.text(st.sampled_from("ab_/.-"), max_size=8).map(lambda text: f"{text}.py")))
def test_modules_can_be_named(paths: list[str]) -> None:
    """Whatever a RECORD lists, what is to be imported can be written in an import statement, each once, sorted."""
    modules = public_modules(paths)
    compile("\n".join(f"import {module}" for module in modules), "imports", "exec")
    assert list(modules) == sorted(set(modules))


def test_modules_of_a_real_wheel(tmp_path: Path) -> None:
    """For an ordinary wheel the oracle, which reads the installed RECORD, finds the same modules."""
    files = {"demo/__init__.py": "", "extra.py": "", "space/part/__init__.py": "", "tests/__init__.py": ""}
    built = wheel(tmp_path, "demo", "1.0", files)
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "site")
        paths = archive.namelist()
    (distribution,) = importlib.metadata.distributions(path=[str(tmp_path / "site")])
    assert (
        tuple(oracle.public_modules(distribution, [".py"])) == public_modules(paths) == ("demo", "extra", "space.part")
    )
