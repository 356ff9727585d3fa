"""What tests need: extras and dependency groups as a project offers them, and what a release requires itself."""

from __future__ import annotations

import pytest

from pytest_spip.provision.needs import Lacking, Needs, Offer, direct_requirements, pinned
from pytest_spip.provision.wanted import Wanted
from tests.support.distributions import suite_metadata

GROUPS = """
[dependency-groups]
Test = ["pytest-timeout", {include-group = "more"}]
more = ["toml>=0.10", "pytest-timeout"]
docs = ["sphinx"]
round = [{include-group = "round"}]
lost = [{include-group = "nowhere"}]
bad = ["=>1"]
far = ["x @ file:///etc/passwd"]
"""
POETRY = """
[tool.poetry.dependencies]
python = "^3.9"
[tool.poetry.dev-dependencies]
black = "*"
[tool.poetry.group.Test.dependencies]
pytest-timeout = "^2.1"
toml = {version = "~0.10", extras = ["x"], markers = "sys_platform == 'linux'", python = ">=3.9"}
six = [{version = "^1.0", python = "<3.12"}, {version = ">=1.16", python = ">=3.12"}]
[tool.poetry.group.choice.dependencies]
six = "^1.0 || ^3.0"
[tool.poetry.group.odd.dependencies]
six = 5
[tool.poetry.group.local.dependencies]
mine = {git = "https://example.org/mine.git"}
"""
OF_POETRY = (
    "pytest-timeout<3.0,>=2.1",
    'toml[x]<0.11,>=0.10; sys_platform == "linux" and python_version >= "3.9"',
    'six<2.0,>=1.0; python_version < "3.12"',
    'six>=1.16; python_version >= "3.12"',
)
METADATA = suite_metadata("demo", "1.0", extras=["Dev", "docs", "testing"])


@pytest.mark.parametrize(
    ("metadata", "pyproject", "wanted", "needs"),
    [
        pytest.param("", "", Wanted(), Needs(), id="nothing"),
        pytest.param(METADATA, "", Wanted(), Needs(("testing",)), id="usual-extras"),
        pytest.param("", GROUPS, Wanted(), Needs((), ("pytest-timeout", "toml>=0.10")), id="usual-groups"),
        pytest.param(METADATA, GROUPS, Wanted(extras=("DOCS",), groups=()), Needs(("docs",)), id="extras-by-name"),
        pytest.param(METADATA, GROUPS, Wanted(extras=(), groups=("docs",)), Needs((), ("sphinx",)), id="group-by-name"),
        pytest.param("", POETRY, Wanted(), Needs((), OF_POETRY), id="poetry"),
        pytest.param(
            "", f"{GROUPS}{POETRY}", Wanted(groups=("test",)), Needs((), ("pytest-timeout", "toml>=0.10")), id="both"
        ),
    ],
)
def test_needs(metadata: str, pyproject: str, wanted: Wanted, needs: Needs) -> None:
    """Extras and groups of the usual names are taken, or those that the user names, however names are spelt."""
    assert Offer(metadata, pyproject).strictly(wanted) == needs
    assert Offer(metadata, pyproject).leniently(wanted) == needs


@pytest.mark.parametrize(
    ("wanted", "option", "told"),
    [
        (Wanted(extras=("testing", "nope")), "--spip-extras", "there is no extra 'nope'; there are dev, docs, testing"),
        (Wanted(groups=("nope",)), "--spip-groups", "there is no group 'nope'; there are bad, docs, far, lost"),
    ],
)
def test_missing_names(wanted: Wanted, option: str, told: str) -> None:
    """A name that a project does not have is told with those that it has, and with the option that named it."""
    with pytest.raises(Lacking, match=told) as caught:
        Offer(METADATA, GROUPS).strictly(wanted)
    assert caught.value.option == option


def test_names_come_and_go() -> None:
    """Of a release among many it is enough that one of the names is there."""
    offer = Offer(METADATA, "")
    assert offer.leniently(Wanted(extras=("tests", "testing"), groups=("tests",))) == Needs(("testing",))
    told = "neither extra nor group 'tests', 'check': extras are dev, docs, testing and groups are none"
    with pytest.raises(Lacking, match=told):
        offer.leniently(Wanted(extras=("tests",), groups=("check",)))


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("round", "dependency group 'round': Cyclic"),
        ("lost", "dependency group 'lost': .*nowhere"),
        ("bad", "dependency group 'bad': "),
        ("far", "holds 'x @ file:///etc/passwd', which no index lists"),
    ],
)
def test_bad_groups(group: str, told: str) -> None:
    """A group that cannot be read is named, once somebody wants it."""
    with pytest.raises(Lacking, match=told):
        Offer("", GROUPS).strictly(Wanted(groups=(group,)))


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("choice", r"dependency group 'choice': .+"),
        ("odd", "dependency group 'odd': "),
        ("local", "holds 'mine @ git.*', which no index lists"),
    ],
)
def test_bad_groups_of_poetry(group: str, told: str) -> None:
    """So is one of Poetry's that has no words in PEP 508."""
    with pytest.raises(Lacking, match=told):
        Offer("", POETRY).strictly(Wanted(groups=(group,)))


@pytest.mark.parametrize("text", ["[[", "dependency-groups = 1", "[dependency-groups]\na = []\nA = []"])
def test_bad_pyproject(text: str) -> None:
    """A pyproject.toml that cannot be read is told in a clause."""
    with pytest.raises(Lacking, match=r"^pyproject\.toml: .+"):
        Offer("", text).strictly(Wanted())


def test_always() -> None:
    """Every environment has what the user adds, and those of suites pytest; where low versions are preferred not its first one."""
    assert Wanted(extra_requirements=("six",)).always("lowest") == ("six",)
    assert Wanted(suite=True, extra_requirements=("six",)).always("") == ("six", "pytest")
    assert all(">=" in text for text in Wanted(suite=True).always("lowest-direct"))


def test_pinned() -> None:
    """A version is pinned with its extras in one order."""
    assert [pinned("demo", extras, "1.0") for extras in ((), ("b", "a"))] == ["demo==1.0", "demo[a,b]==1.0"]


@pytest.mark.parametrize(
    ("extras", "direct"),
    [
        ((), {"dep>=1"}),
        (("test",), {"dep>=1", "six"}),
        (("all",), {"dep>=1", "six", "toml"}),
    ],
)
def test_direct_requirements(extras: tuple[str, ...], direct: set[str]) -> None:
    """What a release requires itself is what applies to an interpreter, extras that name its own extras included."""
    requires = [
        "dep>=1",
        'old; python_version < "3"',
        'six; extra == "test"',
        'toml; extra == "more"',
        'demo[test,more]; extra == "all"',
        "=> typo",
    ]
    metadata = suite_metadata("demo", "1.0", *requires, extras=["test", "more", "all"])
    assert set(direct_requirements(metadata, extras, {"python_version": "3.12"})) == direct
