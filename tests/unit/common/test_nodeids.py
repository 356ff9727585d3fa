"""Node ids of combinations, read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytest_spip.common.nodeids import Named, label_to_python, options_for, read
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo
from tests.support.supply import steady

NOTHING = {"matrix": [], "python": "", "resolution": []}

packages = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True).map(canonicalize_name)
versions = st.sampled_from(["1", "1.0", "1!2.0", "2.0rc1+local.1", "1.0.post1.dev2", "1.0-1", "2004.4+ubuntu-1"])
releases = st.tuples(packages, versions.map(lambda text: str(Version(text))))


@steady
@given(
    st.lists(releases, min_size=1, max_size=4),
    st.sampled_from(["py39", "py314t", "pypy310", "py3.11.2"]),
    st.sampled_from(["", "lowest", "lowest-direct"]),
)
def test_ids_are_read_back(told: list[tuple[str, str]], label: str, resolution: str) -> None:
    """An id says which releases, interpreter and resolution a combination has, and nothing else reads alike."""
    (package, version), *others = told
    combo = Combo(0, package, version, "x", label, others=tuple(others), resolution=resolution)
    assert read(combo.nodeid) == Named(
        tuple(name for name, _ in told), tuple(version for _, version in told), label, resolution
    )


@pytest.mark.parametrize(
    ("nodeids", "expected"),
    [
        (["spip::demo[1.0-py312]"], (["demo==1.0"], "3.12", ["highest"], False)),
        (["spip::demo"], (["demo"], "", ["highest"], False)),
        (["spip::demo[unlisted-index]"], (["demo"], "", ["highest"], False)),
        (
            ["spip::demo[1.0-py312-lowest]", "spip::demo[1.0-pypy310]", "spip::other[2-py312]"],
            (["demo==1.0", "other==2"], "3.12,pypy3.10", ["lowest", "highest"], False),
        ),
        (["spip::a+b[1.0-2.0-py39-lowest-direct]"], (["a==1.0", "b==2.0"], "3.9", ["lowest-direct"], True)),
        (
            ["spip::a+b[1.0-2.0-py39]", "spip::a+b[1.1-2.0-py312]"],
            (["a==1.0", "b==2.0", "a==1.1"], "3.9,3.12", ["highest"], True),
        ),
        (["spip::a+b"], (["a", "b"], "", ["highest"], True)),
    ],
)
def test_options_for_ids(nodeids: list[str], expected: tuple[list[str], str, list[str], bool]) -> None:
    """Ids alone say which requirements, interpreters and resolutions make a matrix that holds them."""
    assert expected == tuple(options_for(nodeids, NOTHING).values())


def test_what_the_user_says_stands() -> None:
    """Interpreters and resolutions that the user named are not replaced."""
    made = options_for(["spip::demo[1.0-py312]"], {"matrix": [], "python": "3.9", "resolution": ["lowest"]})
    assert (made["python"], made["resolution"]) == ("3.9", ["lowest"])
    assert options_for(["spip::demo[1.0-py39_2]"], {**NOTHING, "python": "/a,/b"})["python"] == "/a,/b"


@pytest.mark.parametrize(
    ("nodeids", "told"),
    [
        (["spip::a+b[1.0-py39]"], "spip::a+b[1.0-py39]: no combination has such an id; see --collect-only"),
        (["spip::a[1.0-2.0-py39]"], "spip::a[1.0-2.0-py39]: no combination has such an id; see --collect-only"),
        (["spip::a+b", "spip::a+c"], "spip::a+c: it is of another cross than those of a+b; run it on its own"),
        (["spip::a", "spip::a+b"], "spip::a+b: it is of another cross than those of a; run it on its own"),
        (
            ["spip::a[1.0-py39]", "spip::a[1.0-py39_2]"],
            "spip::a[1.0-py39_2]: py39_2 is not the only py39 of its run, and only paths tell them apart; name the same paths",
        ),
    ],
)
def test_ids_that_no_matrix_holds(nodeids: list[str], told: str) -> None:
    """What no combination is called, and ids of different crosses, are refused in one line."""
    with pytest.raises(UsageProblem) as problem:
        options_for(nodeids, NOTHING)
    assert str(problem.value).startswith(told)


@pytest.mark.parametrize(
    ("label", "python"),
    [
        ("py39", "3.9"),
        ("py314t", "3.14t"),
        ("pypy310", "pypy3.10"),
        ("py3.11.2", "3.11.2"),
        ("py312_2", "3.12"),
        ("py313t_2", "3.13t"),
    ],
)
def test_labels(label: str, python: str) -> None:
    """A label leads back to what --spip-python calls an interpreter."""
    assert label_to_python(label) == python
