"""Wheels that install files at one place: the order is pip's, what is replaced is named, and what no installer takes is refused."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_spip.errors import BadWheel
from pytest_spip.model import StoredWheel
from pytest_spip.provision.overlaps import installation
from tests.support.distributions import Content, wheel
from tests.support.rooms import filed
from tests.support.supply import Supply

SEEDS = range(8)
NAMES = ("Alpha", "beta.b", "Gamma_c", "delta", "eps-ilon", "zeta", "eta", "theta9", "iota")
PIP = (
    sys.executable,
    "-m",
    "pip",
    "--disable-pip-version-check",
    "--isolated",
    "install",
    "--no-compile",
    "--no-index",
)


def random_requirements(dice: random.Random, name: str) -> list[str]:
    """Return what a project requires: plainly, with an extra of the other, for an extra of its own, or where a marker holds."""
    others = [other for other in NAMES if other != name]
    found = []
    for other in dice.sample(others, dice.choice([0, 0, 1, 1, 2, 3])):
        asked = f"{other}[more]" if dice.random() < 0.3 else other
        found.append(asked + dice.choice(["", "", "", "; extra == 'more'", "; python_version < '3'"]))
    return found


def order_of_pip(files: Path, target: Path, *requirements: str) -> list[str]:
    """Return the names in the order that pip itself installs them in."""
    command = [*PIP, "--find-links", str(files), "--target", str(target), *requirements]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (line,) = re.findall(r"Installing collected packages: (.*)", done.stdout)
    return [re.sub(r"[-_.]+", "-", name).lower() for name in line.split(", ")]


@pytest.mark.parametrize("seed", SEEDS)
def test_order_is_that_of_pip(supply: Supply, seed: int) -> None:
    """Whatever requires what, with extras and in circles, the wheels are installed in the order that pip has for them."""
    dice = random.Random(seed)
    stored: dict[str, StoredWheel] = {}
    for name in NAMES:
        requires = random_requirements(dice, name)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", "Provides-Extra: more"]
        text = "\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires), ""])
        files: dict[str, Content] = {"same.py": f"who = {name!r}\n"}
        how = {"extra_dist_info": {"METADATA": text}}
        wheel(supply.files, name, "1.0", files, **how)  # type: ignore[arg-type]  # passed on
        one = filed(supply.cache, name, "1.0", files, **how)
        stored[one.name] = one
    asked = [f"{name}[more]" if dice.random() < 0.3 else name for name in dice.sample(NAMES, 2)]
    expected = order_of_pip(supply.files, supply.root / "target", *asked)
    chosen = sorted((stored[name] for name in expected), key=lambda one: one.name)
    ordered = installation(chosen, asked, supply.here())
    assert [one.name for one in ordered.wheels] == expected
    assert ordered.replaces == (len(expected) > 1)
    said = (supply.root / "target" / "same.py").read_text("utf-8")
    assert said == Path(ordered.wheels[-1].root, "purelib", "same.py").read_text("utf-8")
    assert all(expected[-1] in text or len(expected) > 2 for text in ordered.warnings)


# -- what counts as replaced ---------------------------------------------------------------------------------------------------


def test_replaced_files_are_named(supply: Supply) -> None:
    """A warning names both projects, one file and the number of the others; the later one is what requires the earlier."""
    low = filed(supply.cache, "zlow", "1.0", {"same/a.py": "1", "same/b.py": "1", "zlow.py": ""})
    top = filed(supply.cache, "atop", "2.0", {"same/a.py": "2", "same/b.py": "2"}, requires=["zlow"])
    found = installation([top, low], ["atop"], supply.here())
    assert [one.name for one in found.wheels] == ["zlow", "atop"]
    assert found.replaces
    (text,) = found.warnings
    assert text.startswith("atop 2.0 replaces files of zlow 1.0 (same/a.py and 1 more), for pip installs it later")


@pytest.mark.parametrize(
    "how",
    [
        {"files": {"same.py": "1"}},
        {"files": {"same/__init__.py": "", "same/other.py": ""}},
        {"files": {}, "data": {"purelib/same/other.py": ""}},
        {"files": {}, "data": {"headers/same.h": "2"}},
    ],
    ids=["equal", "namespace", "scheme", "headers"],
)
def test_nothing_is_replaced(supply: Supply, how: dict[str, object]) -> None:
    """Equal files, other files of one package and headers, which have a directory for each project, are nobody else's."""
    one = filed(supply.cache, "one", "1", {"same.py": "1", "same/__init__.py": ""}, data={"headers/same.h": "1"})
    two = filed(supply.cache, "two", "1", **{"files": {}, **how})  # type: ignore[arg-type]  # passed on
    found = installation([two, one], ["two", "one"], supply.here())
    assert (found.wheels, found.replaces, found.warnings) == ((two, one), False, ())


@pytest.mark.parametrize("kind", ["purelib", "scripts", "data", "library", "entry-point"])
def test_schemes_that_meet(supply: Supply, kind: str) -> None:
    """Files meet wherever they end at one place: by another scheme, as data, as scripts, and as scripts of entry points."""
    script: dict[str, object] = {"scripts": {"same": "#!/bin/sh\n"}}
    first: dict[str, object] = {"files": {"same.py": "1"}}
    library = f"data/lib/{supply.here().library}/site-packages/same.py"
    pairs: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "purelib": (first, {"data": {"purelib/same.py": "2"}}),
        "scripts": (script, {"scripts": {"same": "#!/bin/bash\n"}}),
        "data": ({"data": {"data/share/same": "1"}}, {"data": {"data/share/same": "2"}}),
        "library": (first, {"data": {library: "2"}}),
        "entry-point": (script, {"entry_points": "[console_scripts]\nsame = two:main\n"}),
    }
    one, two = (
        filed(supply.cache, name, "1", **{"files": {}, **how})  # type: ignore[arg-type]  # passed on
        for name, how in zip(("one", "two"), pairs[kind], strict=True)
    )
    found = installation([one, two], ["one", "two"], supply.here())
    assert [wheel.name for wheel in found.wheels] == ["two", "one"]  # of equal weight the first name is the last
    assert found.replaces
    assert len(found.warnings) == 1


@pytest.mark.parametrize("swapped", [False, True])
def test_file_for_a_directory(supply: Supply, swapped: bool) -> None:
    """A file where another wheel needs a directory is refused, as pip refuses it."""
    parts: list[dict[str, Content]] = [{"thing": "1"}, {"thing/sub.py": ""}]
    for name, files in zip(("one", "two"), reversed(parts) if swapped else parts, strict=True):
        wheel(supply.files, name, "1", files)
    one, two = (filed(supply.cache, f"{name}", "1", files) for name, files in zip(("one", "two"), parts, strict=True))
    for pair in ([one, two], [two, one]):
        with pytest.raises(BadWheel, match="one 1 has the file thing where two 1 has a directory"):
            installation(pair, ["one", "two"], supply.here())
    command = [*PIP, "--find-links", str(supply.files), "--prefix", str(supply.root / "prefix"), "one", "two"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
