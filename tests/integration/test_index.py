"""What an index lists of a project, in JSON and in HTML, from the network, from the cache and from directories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_spip.errors import IndexProblem, UnknownPackage
from pytest_spip.model import Indexes
from pytest_spip.plan.index import Listing, list_project
from tests.support.distributions import sdist, simple_sdist, wheel
from tests.support.index import Fault, LocalIndex
from tests.support.server import Request, say, served
from tests.support.supply import Supply

GOOD = {"demo/__init__.py": ""}
JSON = "application/vnd.pypi.simple.v1+json"


def listed(supply: Supply, indexes: Indexes | None = None, project: str = "demo") -> Listing:
    """Return a project's listing."""
    return list_project(project, indexes or supply.indexes(), supply.web(), supply.cache)


def versions(listing: Listing) -> list[str]:
    """Return the versions listed."""
    return [release.version for release in listing.releases]


def age(supply: Supply, seconds: float = 3600) -> None:
    """Make all that the cache knows of indexes older, by an hour if nothing else is said."""
    for path in supply.cache.index.iterdir():
        plain = json.loads(path.read_text())
        path.write_text(json.dumps(plain | {"fetched": plain["fetched"] - seconds}))


def fill(files: Path) -> None:
    """Write two releases, the first one with a wheel."""
    wheel(files, "Demo", "1.0", GOOD)
    simple_sdist(files, "demo", "1.0", GOOD)
    simple_sdist(files, "demo", "2.0", GOOD)


def describe(index: LocalIndex, files: Path) -> None:
    """Say everything that an index can say of the wheel, and nothing of the last sdist."""
    built = files / "demo-1.0-py3-none-any.whl"
    index.add(built, upload_time="2024-01-01T00:00:00Z", yanked="broken & bad", requires_python=">=3.8,<4")
    index.add(files / "demo-2.0.tar.gz", sha256="")


# -- formats ------------------------------------------------------------------------------------------------------------


def test_formats_agree(tmp_path: Path) -> None:
    """A listing is the same whether the index answers in JSON or in HTML."""
    found = []
    (tmp_path / "files").mkdir()
    fill(tmp_path / "files")
    for name in ("json", "html"):
        with LocalIndex(tmp_path / "files", formats=[name]) as index:
            describe(index, tmp_path / "files")
            listing = listed(Supply(tmp_path / name, index))
            found.append(str(listing).replace(index.url.removesuffix("/simple/"), "HOST"))
    assert found[0] == found[1]
    assert "requires_python='>=3.8,<4', upload_time='2024-01-01T00:00:00Z', yanked=True" in found[0]


def test_listing(supply: Supply) -> None:
    """Files are grouped by version, oldest first, with kind, hash, absolute address, and the index they are from."""
    fill(supply.files)
    describe(supply.index, supply.files)
    one, two = listed(supply).releases
    assert [(file.kind, file.filename, bool(file.sha256)) for file in one.files] == [
        ("wheel", "demo-1.0-py3-none-any.whl", True),
        ("sdist", "demo-1.0.tar.gz", True),
    ]
    assert one.files[1].url == supply.index.url.replace("/simple/", "/files/demo-1.0.tar.gz")
    assert (two.version, two.files[0].sha256, two.files[0].yanked) == ("2.0", "", False)
    assert {one.source, two.source} == {supply.index.url}
    assert not one.yanked


# -- filenames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filenames", "expected"),
    [
        pytest.param(["demo-1.0.tar.gz", "demo-1.0.0-py3-none-any.whl"], ["1.0"], id="equal-versions"),
        pytest.param(["demo-1.10.tar.gz", "demo-1.9.zip", "demo-1.8.tar.bz2"], ["1.8", "1.9", "1.10"], id="order"),
        pytest.param(["Demo-1.0-beta1.tar.gz", "demo-1.0-1.tgz"], ["1.0b1", "1.0.post1"], id="dash-in-version"),
        pytest.param(["demo-1.0-py2.5.egg", "demo-1.0.win32.exe", "demo-1.0.rpm"], [], id="neither-wheel-nor-sdist"),
        pytest.param(["other-1.0.tar.gz", "other-1.0-py3-none-any.whl"], [], id="of-another-project"),
    ],
)
def test_filenames(supply: Supply, filenames: list[str], expected: list[str]) -> None:
    """A filename tells kind and version as pip and uv read it; what is neither wheel nor sdist of the project is ignored."""
    listing = paged(supply, filenames)
    assert (expected, ()) == (versions(listing), listing.notes)


def paged(supply: Supply, filenames: list[str]) -> Listing:
    """Return the listing of a page that names some files."""
    page = "<html>" + "".join(f'<a href="{name}">x</a>' for name in filenames)
    with served(lambda request: say(request, body=page.encode(), Content_Type="text/html")) as url:
        return listed(supply, supply.indexes(url))


def test_invalid_versions(supply: Supply) -> None:
    """Files whose versions are none are left out, and named."""
    names = ["demo-2004d.tar.gz", "demo-2004d.zip", "demo-latest.zip", "demo-1.0-cp312.whl", "demo-1.0.tar.gz"]
    listing = paged(supply, names)
    assert versions(listing) == ["1.0"]
    assert listing.notes == (f"demo: left out, for their versions are not valid: {', '.join(names[:-1])}",)


# -- answers that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(Fault(status=500), "the server answered 500 Internal Server Error", id="500"),
        pytest.param(Fault(status=403), "the server answered 403 Forbidden", id="403"),
        pytest.param(Fault(body=b"{"), "malformed JSON answer", id="malformed"),
        pytest.param(Fault(keep=20), "IncompleteRead", id="truncated"),
    ],
)
def test_index_that_cannot_be_read(supply: Supply, fault: Fault, told: str) -> None:
    """An index that cannot be read is told from one that does not know the project."""
    wheel(supply.files, "demo", "1.0", GOOD)
    supply.index.inject(supply.index.page_path("demo"), fault)
    with pytest.raises(IndexProblem) as problem:
        listed(supply)
    assert str(problem.value).startswith(f"index {supply.index.url}demo/: {told}")


def test_index_in_trouble_for_a_moment(supply: Supply) -> None:
    """A server error that passes is not noticed."""
    wheel(supply.files, "demo", "1.0", GOOD)
    supply.index.inject(supply.index.page_path("demo"), Fault(status=500, times=1))
    assert versions(list_project("demo", supply.indexes(), supply.web(retries=1), supply.cache)) == ["1.0"]


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", ""])
def test_wrong_content_type(supply: Supply, kind: str) -> None:
    """An answer that says it is neither JSON nor HTML is not guessed at."""
    with (
        served(lambda request: say(request, body=b"<html>", Content_Type=kind)) as url,
        pytest.raises(IndexProblem, match=r"answered (text/plain|without a content type), neither JSON nor HTML"),
    ):
        listed(supply, supply.indexes(url))


def test_unknown_project(supply: Supply) -> None:
    """A project that no index knows is a usage error that names the project, the indexes and the fix."""
    with pytest.raises(UnknownPackage) as problem:
        listed(supply, supply.indexes(supply.index.url.replace("//", "//u:secret@")), "Demo")
    where = supply.index.url.replace("//", "//****@")
    told = f"--spip-matrix: no project named 'Demo' on {where}; check the spelling or the index settings"
    assert told == str(problem.value)


def test_project_without_files(supply: Supply) -> None:
    """A project that is known and has no files has no releases; that is no misspelling."""
    assert paged(supply, []).releases == ()


# -- several places -----------------------------------------------------------------------------------------------------


@pytest.fixture
def second(tmp_path: Path) -> Iterator[LocalIndex]:
    """Serve a second index."""
    (tmp_path / "second").mkdir()
    with LocalIndex(tmp_path / "second") as index:
        yield index


def test_one_index_per_project(supply: Supply, second: LocalIndex, tmp_path: Path) -> None:
    """A project is taken from the first index that lists it, and a later one is not even asked: no dependency confusion."""
    wheel(supply.files, "demo", "1.0", GOOD)
    wheel(tmp_path / "second", "demo", "99.0", GOOD)
    wheel(tmp_path / "second", "other", "2.0", GOOD)
    indexes = supply.indexes(supply.index.url, second.url)
    assert [(one.version, one.source) for one in listed(supply, indexes).releases] == [("1.0", supply.index.url)]
    assert second.requests == []
    assert [one.source for one in listed(supply, indexes, "other").releases] == [second.url]


def test_first_index_that_fails(supply: Supply, second: LocalIndex, tmp_path: Path) -> None:
    """An index that cannot be read does not give way to the next: that one may be a stranger's."""
    wheel(tmp_path / "second", "demo", "99.0", GOOD)
    supply.index.inject(supply.index.page_path("demo"), Fault(status=500))
    with pytest.raises(IndexProblem):
        listed(supply, supply.indexes(supply.index.url, second.url))
    assert second.requests == []


def test_find_links_directory(supply: Supply, tmp_path: Path) -> None:
    """A directory of files adds to what the index lists, and files of projects with longer names are not its own."""
    wheel(supply.files, "demo", "1.0", GOOD)
    links = tmp_path / "links"
    links.mkdir()
    for name in ("demo", "demo-more"):
        sdist(links, name, "2.0", {})
    (links / "demo-more-3.0.tar.gz").touch()
    (links / "demo_more-bad.whl").touch()
    for place in (links, links.as_uri()):
        listing = listed(supply, supply.indexes(find_links=[place]))
        assert (versions(listing), listing.notes) == (["1.0", "2.0"], ())
    assert listing.releases[1].files[0].url == (links / "demo-2.0.tar.gz").as_uri()


def test_find_links_alone(supply: Supply, tmp_path: Path) -> None:
    """Without any index, a project is what the directory holds."""
    sdist(tmp_path, "demo", "2.0", {})
    alone = Indexes((), (str(tmp_path),))
    assert versions(listed(supply, alone)) == ["2.0"]
    with pytest.raises(UnknownPackage, match="no project named 'other' on the find-links"):
        listed(supply, alone, "other")


def test_find_links_page(supply: Supply) -> None:
    """A page of links adds to what the index lists, and is kept like a page of the index."""
    wheel(supply.files, "demo", "1.0", GOOD)
    asked = []

    def answer(request: Request) -> None:
        asked.append(request.path)
        say(request, body=b'<a href="demo-2.0.tar.gz#sha256=ab">x</a>', Content_Type="text/html")

    with served(answer) as url:
        listings = [listed(supply, supply.indexes(find_links=[f"{url}/links"])) for _ in range(2)]
    assert [versions(listing) for listing in listings] == [["1.0", "2.0"]] * 2
    assert listings[0].releases[1].files[0].url == f"{url}/demo-2.0.tar.gz"
    assert asked == ["/links"]


@pytest.mark.parametrize("place", ["missing", "http://127.0.0.1:9/links", "file:///missing/links"])
def test_find_links_that_are_not_there(supply: Supply, place: str) -> None:
    """A find-links place that cannot be read is an index that cannot be read."""
    wheel(supply.files, "demo", "1.0", GOOD)
    with pytest.raises(IndexProblem, match=place):
        listed(supply, supply.indexes(find_links=[place]))


def test_index_in_a_directory(supply: Supply, tmp_path: Path) -> None:
    """An index may be a directory of pages, which is looked at anew each time."""
    page = tmp_path / "simple" / "demo" / "index.html"
    page.parent.mkdir(parents=True)
    seen = []
    for version in ("1.0", "2.0"):
        page.write_text(f'<!doctype html><a href="demo-{version}.tar.gz">x</a>')
        seen.append(listed(supply, Indexes((page.parents[1].as_uri(),), offline=True)).releases[0].files[0].url)
    assert seen == [(page.parent / f"demo-{version}.tar.gz").as_uri() for version in ("1.0", "2.0")]


# -- the cache ----------------------------------------------------------------------------------------------------------


def test_fresh_listing_is_taken_from_the_cache(supply: Supply) -> None:
    """A listing that was fetched a moment ago is not asked for again."""
    wheel(supply.files, "demo", "1.0", GOOD)
    assert listed(supply) == listed(supply)
    assert len(supply.index.requests) == 1


@pytest.mark.parametrize("seconds", [3600, -86400])
def test_old_listing_is_asked_for_again(supply: Supply, seconds: float) -> None:
    """A listing that was fetched an hour ago is fetched again, and so is one that a wrong clock dated tomorrow."""
    wheel(supply.files, "demo", "1.0", GOOD)
    listed(supply)
    age(supply, seconds)
    wheel(supply.files, "demo", "2.0", GOOD)
    assert versions(listed(supply)) == ["1.0", "2.0"]


def test_listing_that_has_not_changed(supply: Supply) -> None:
    """An index that says that its page has not changed is believed, again and again, by the tag it gave first."""
    tags = []

    def answer(request: Request) -> None:
        tags.append(request.headers.get("If-None-Match"))
        if tags[-1]:
            say(request, 304)
        else:
            say(request, body=b'<html><a href="demo-1.0.tar.gz">x</a>', Content_Type="text/html", ETag='"7"')

    with served(answer) as url:
        for _ in range(3):
            assert versions(listed(supply, supply.indexes(url))) == ["1.0"]
            age(supply)
    assert tags == [None, '"7"', '"7"']


def test_stale_listing_of_an_index_out_of_reach(supply: Supply) -> None:
    """An index out of reach is as it was when it was seen last, and a note says so."""
    wheel(supply.files, "demo", "1.0", GOOD)
    listed(supply)
    age(supply)
    supply.index.inject(supply.index.page_path("demo"), Fault(status=500))
    listing = listed(supply)
    assert versions(listing) == ["1.0"]
    assert listing.notes == (f"{supply.index.url}demo/ cannot be reached; its listing is from 1.0 h ago",)


def test_malformed_answer_is_not_papered_over(supply: Supply) -> None:
    """An index that answers nonsense is broken, whatever it said before."""
    wheel(supply.files, "demo", "1.0", GOOD)
    listed(supply)
    age(supply)
    supply.index.inject(supply.index.page_path("demo"), Fault(body=b"{"))
    with pytest.raises(IndexProblem):
        listed(supply)


def test_offline(supply: Supply) -> None:
    """Offline, what the cache knows is taken whatever its age, and what it does not know is a problem of the index."""
    wheel(supply.files, "demo", "1.0", GOOD)
    listed(supply)
    age(supply)
    asked = list(supply.index.requests)
    offline = supply.indexes(offline=True)
    assert versions(listed(supply, offline)) == ["1.0"]
    with pytest.raises(IndexProblem, match="not in the cache, and UV_OFFLINE forbids to ask"):
        listed(supply, offline, "other")
    assert asked == supply.index.requests


def test_absence_is_known_out_of_reach(supply: Supply, second: LocalIndex, tmp_path: Path) -> None:
    """That an index does not know a project is kept for when it cannot be asked, and asked again as long as it can."""
    wheel(tmp_path / "second", "demo", "1.0", GOOD)
    both = supply.indexes(supply.index.url, second.url)
    assert versions(listed(supply, both)) == ["1.0"]
    assert versions(listed(supply, supply.indexes(supply.index.url, second.url, offline=True))) == ["1.0"]
    wheel(supply.files, "demo", "2.0", GOOD)
    assert versions(listed(supply, both)) == ["2.0"]


def test_damaged_cache(supply: Supply) -> None:
    """A kept listing that cannot be read is fetched again."""
    wheel(supply.files, "demo", "1.0", GOOD)
    listed(supply)
    for text in (
        "{",
        "[]",
        '{"entries": 3, "etag": "", "fetched": 1}',
        '{"entries": [{"x": 1}], "etag": "", "fetched": 1}',
    ):
        (path,) = supply.cache.index.iterdir()
        path.write_text(text)
        assert versions(listed(supply)) == ["1.0"]


def test_cache_holds_no_credentials(tmp_path: Path) -> None:
    """Of an index with credentials nothing is kept that holds them."""
    (tmp_path / "files").mkdir()
    wheel(tmp_path / "files", "demo", "1.0", GOOD)
    with LocalIndex(tmp_path / "files", credentials=("user", "secret")) as index:
        supply = Supply(tmp_path, index)
        listing = listed(supply, supply.indexes(index.authenticated_url))
    assert versions(listing) == ["1.0"]
    assert "secret" not in str(listing) + "".join(path.read_text() for path in supply.cache.index.iterdir())
