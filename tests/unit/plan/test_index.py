"""Answers of indexes, read as text: JSON and HTML, in order and damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.errors import IndexProblem
from pytest_spip.plan.index import parse_html, parse_json
from tests.support.supply import steady

FILES = """<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.{minor}">
<base href="https://files.example/sub/"></head><body>
<a href="demo-1.0.tar.gz#sha256=abc">x</a><a href="/demo-1.1.tar.gz#md5=abc">x</a><a name="no-address">x</a>
<a href="https://other.example/demo-1.2%2Blocal-py3-none-any.whl" data-yanked>x</a></body></html>"""


def test_html_addresses() -> None:
    """Addresses are relative to the page's base, quoted, with the sha256 as their fragment."""
    entries = parse_html(FILES.format(minor=4), "https://index.example/simple/demo/")
    assert [(entry.filename, entry.url, entry.sha256, entry.yanked) for entry in entries] == [
        ("demo-1.0.tar.gz", "https://files.example/sub/demo-1.0.tar.gz", "abc", False),
        ("demo-1.1.tar.gz", "https://files.example/demo-1.1.tar.gz", "", False),
        ("demo-1.2+local-py3-none-any.whl", "https://other.example/demo-1.2%2Blocal-py3-none-any.whl", "", True),
    ]


JSON_PAGE = '{"meta": {"api-version": "%s"}, "files": [%s]}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "malformed JSON answer (JSONDecodeError", id="empty"),
        pytest.param("{", "malformed JSON answer (JSONDecodeError", id="truncated"),
        pytest.param("[]", "malformed JSON answer (TypeError", id="a-list"),
        pytest.param("{}", "malformed JSON answer (KeyError", id="no-version"),
        pytest.param('{"meta": {"api-version": "1.0"}, "files": 3}', "malformed JSON answer (TypeError", id="no-files"),
        pytest.param(JSON_PAGE % ("1.0", '"x"'), "malformed JSON answer (AttributeError", id="a-file-that-is-none"),
        pytest.param(JSON_PAGE % ("1.0", '{"url": "x"}'), "malformed JSON answer (KeyError", id="no-filename"),
        pytest.param(
            JSON_PAGE % ("1.0", '{"url": "http://[x", "filename": "x"}'),
            "malformed JSON answer (ValueError",
            id="no-address",
        ),
        pytest.param("[" * 100_000, "malformed JSON answer (RecursionError", id="deep"),
        pytest.param(
            JSON_PAGE % ("2.0", ""), "speaks version 2.0 of the Simple API, and only 1.x is known", id="version-2"
        ),
    ],
)
def test_malformed_json(text: str, told: str) -> None:
    """An answer that is not what the Simple API says is refused, and so is another major version of it."""
    with pytest.raises(IndexProblem) as problem:
        parse_json(text, "https://u:secret@index.example/")
    assert str(problem.value).startswith(f"index https://****@index.example/: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "malformed HTML answer (no HTML in it)", id="empty"),
        pytest.param("Service unavailable", "malformed HTML answer (no HTML in it)", id="text"),
        pytest.param('{"files": []}', "malformed HTML answer (no HTML in it)", id="json"),
        pytest.param('<a href="http://[x">x</a>', "malformed HTML answer (Invalid IPv6 URL)", id="no-address"),
        pytest.param("<!doctype html><![foo[", "malformed HTML answer (unknown status keyword", id="marked-section"),
        pytest.param(FILES.replace("1.{minor}", "2.0"), "speaks version 2.0 of the Simple API", id="version-2"),
    ],
)
def test_malformed_html(text: str, told: str) -> None:
    """A page that is no page of an index is refused, and so is another major version of the Simple API."""
    with pytest.raises(IndexProblem) as problem:
        parse_html(text, "https://index.example/")
    assert str(problem.value).startswith(f"index https://index.example/: {told}")


@steady
@given(st.text())
def test_any_answer_is_understood_or_refused(text: str) -> None:
    """Whatever an index says is a listing or an index's problem, never anything else."""
    for parse in (parse_json, parse_html):
        try:
            entries = parse(text, "https://index.example/")
        except IndexProblem:
            continue
        assert all(entry.url for entry in entries)
