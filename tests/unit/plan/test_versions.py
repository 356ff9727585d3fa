"""Which releases of a project enter the matrix."""

from __future__ import annotations

import datetime
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pytest_spip.errors import UsageProblem
from pytest_spip.plan.versions import as_of, choose, parse_policy
from tests.support.supply import file, release, steady

ALL = ("0.1", "0.2", "0.2.1", "1.0a1", "1.0", "1.0.1", "1.1.dev1", "1!0.1")
LISTED = [release(version, yanked=version == "1.0") for version in ALL]


def chosen(specifier: str = "", policy: str = "all", *, pre: bool = False, yanked: bool = False) -> list[str]:
    """Return the versions chosen of those listed."""
    return [one.version for one in choose(LISTED, SpecifierSet(specifier), policy, pre=pre, yanked=yanked)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("all", ["0.1", "0.2", "0.2.1", "1.0.1", "1!0.1"]),
        ("pairwise", ["0.1", "0.2", "0.2.1", "1.0.1", "1!0.1"]),
        ("latest", ["1!0.1"]),
        ("major", ["0.2.1", "1.0.1", "1!0.1"]),
        ("minor", ["0.1", "0.2.1", "1.0.1", "1!0.1"]),
        ("2", ["1.0.1", "1!0.1"]),
        ("99", ["0.1", "0.2", "0.2.1", "1.0.1", "1!0.1"]),
    ],
)
def test_policies(policy: str, expected: list[str]) -> None:
    """A policy keeps all, the newest, the newest of each major or minor version, or the newest N, oldest first."""
    assert expected == chosen(policy=policy)


@pytest.mark.parametrize(
    ("specifier", "widened", "expected"),
    [
        pytest.param("<1.1", "pre", ["0.1", "0.2", "0.2.1", "1.0a1", "1.0.1"], id="pre"),
        pytest.param(">=1.0a1,<1.0.1", "", ["1.0a1"], id="specifier-names-a-pre-release"),
        pytest.param("==1.0a1", "", ["1.0a1"], id="pin-of-a-pre-release"),
        pytest.param("==1.1.dev1", "", ["1.1.dev1"], id="pin-of-a-development-release"),
        pytest.param(">=1,<1.1", "yanked", ["1.0", "1.0.1"], id="yanked"),
        pytest.param("==1.0", "", ["1.0"], id="pin-of-a-yanked-release"),
        pytest.param("==1.0.*", "", ["1.0.1"], id="wildcard-is-no-pin"),
        pytest.param("!=0.2,<1", "", ["0.1", "0.2.1"], id="exclusion"),
        pytest.param(">9", "", ["1!0.1"], id="epoch"),
        pytest.param("==7", "", [], id="nothing"),
    ],
)
def test_pre_releases_and_yanked_ones(specifier: str, widened: str, expected: list[str]) -> None:
    """Pre-releases and yanked releases enter by option, or where the specifier names or pins them."""
    assert expected == chosen(specifier, pre=widened == "pre", yanked=widened == "yanked")


def test_half_yanked_release_counts() -> None:
    """A release is yanked only when all its files are."""
    half = release("2.0", file("demo-2.0.tar.gz", yanked=True), file("demo-2.0-py3-none-any.whl"))
    assert (half,) == choose([half], SpecifierSet(), "all", pre=False, yanked=False)


@pytest.mark.parametrize("text", ["all", "latest", "minor", "major", "pairwise", "1", "20", " ALL "])
def test_policy_is_read(text: str) -> None:
    """A policy is read whatever its case."""
    assert text.strip().lower() == parse_policy(text)


@pytest.mark.parametrize("text", ["", "newest", "0", "-1", "1.5", "all,latest", "\u00b2"])
def test_bad_policy(text: str) -> None:
    """What is no policy is refused in words that name the option and the fix."""
    with pytest.raises(UsageProblem) as problem:
        parse_policy(text)
    told = f"--spip-versions: {text!r} is no policy; use all, latest, minor, major, pairwise or a positive number"
    assert told == str(problem.value)


@steady
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_policies_nest(numbers: set[tuple[int, int, int]]) -> None:
    """What ``major`` chooses ``minor`` chooses too, and ``latest`` is the last of both."""
    listed = [release(".".join(map(str, parts))) for parts in sorted(numbers)]
    latest, major, minor = (
        choose(listed, SpecifierSet(), policy, pre=False, yanked=False) for policy in ("latest", "major", "minor")
    )
    assert set(latest) <= set(major) <= set(minor) <= set(listed)
    assert latest[-1] == major[-1] == minor[-1] == listed[-1]
    assert list(minor) == sorted(minor, key=lambda one: Version(one.version))


# -- the index as of an instant -----------------------------------------------------------------------------------------

NEW_YEAR = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("upload_time", "kept"),
    [
        pytest.param("2023-12-31T23:59:59Z", True, id="before"),
        pytest.param("2023-12-31T23:59:59.999999Z", True, id="fraction"),
        pytest.param("2023-12-31T23:59:59", True, id="no-zone-is-utc"),
        pytest.param("2024-01-01T00:30:00+01:00", True, id="zone"),
        pytest.param("2024-01-01T00:00:00Z", False, id="that-very-instant"),
        pytest.param("2024-01-01T00:00:01Z", False, id="after"),
        pytest.param("", False, id="undated"),
        pytest.param("last year", False, id="unreadable"),
    ],
)
def test_as_of(upload_time: str, kept: bool) -> None:
    """A file is there when it was uploaded before the instant."""
    dated = release("0.9", upload_time="2020-01-01T00:00:00Z")
    asked = release("1.0", upload_time=upload_time)
    assert ((dated, asked) if kept else (dated,)) == as_of([dated, asked], NEW_YEAR)


def test_as_of_by_file() -> None:
    """A release keeps the files that were there, such as an sdist whose wheels came later."""
    early = file("demo-1.0.tar.gz", upload_time="2023-01-01T00:00:00Z")
    late = file("demo-1.0-py3-none-any.whl", upload_time="2025-01-01T00:00:00Z")
    assert [release("1.0", early)] == list(as_of([release("1.0", early, late)], NEW_YEAR))


@pytest.mark.parametrize("upload_time", ["", *string.ascii_letters[:1]])
def test_as_of_without_any_date(upload_time: str) -> None:
    """Where no file is dated the answer would be a guess, and is refused."""
    with pytest.raises(
        UsageProblem, match=r"index\.example gives no upload times for demo; leave the option out, or use"
    ):
        as_of([release("1.0", upload_time=upload_time)], NEW_YEAR)


def test_as_of_nothing() -> None:
    """A project without files is as empty then as now."""
    assert as_of([], NEW_YEAR) == ()


def test_links_have_no_dates() -> None:
    """Files of find-links stay, whatever the date, as with uv; those of the index go when they are too new."""
    listed = file("demo-2.0-py3-none-any.whl", upload_time="2026-01-01T00:00:00Z")
    linked = file("demo-1.0-py3-none-any.whl", linked=True)
    known = [release("1.0", linked), release("2.0", listed)]
    date = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert [one.version for one in as_of(known, date)] == ["1.0"]
