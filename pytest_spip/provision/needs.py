"""What environments hold beside the release: what the user names, and what a suite's own project says its tests need. Pure."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from email.parser import HeaderParser
from typing import Any

from packaging.dependency_groups import DependencyGroupResolver
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_spip.provision.declared import Declared
from pytest_spip.provision.poetry import poetry_groups
from pytest_spip.provision.wanted import Wanted

__all__ = [
    "Lacking",
    "Needs",
    "Offer",
    "applying_requirements",
    "direct_requirements",
    "fields",
    "parsed_requirements",
    "pinned",
]

USUAL = ("test", "tests", "testing")
"""Names of the extras and dependency groups that hold what tests need, where the user names none: the first that there is."""
LAST = "dev"
"""The name that counts where there is nothing narrower: it holds linters and the like, too."""

NOTHING = Declared()


class Lacking(ValueError):
    """Names that were asked for and are not offered, or that cannot be read: ``what`` says so in a clause."""

    def __init__(self, what: str, option: str = "") -> None:
        self.what = what
        self.option = option
        super().__init__(what)


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What tests need: extras of their project, and further requirements; ``found`` says in words where these stand."""

    extras: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    found: tuple[str, ...] = dataclasses.field(default=(), compare=False)


class Offer:
    """The extras and dependency groups (PEP 735, Poetry's) that a project has, from core metadata and ``pyproject.toml``.

    Raises ``Lacking`` for texts that cannot be read.
    """

    def __init__(self, metadata: str, pyproject: str) -> None:
        self.extras = tuple(canonicalize_name(name) for name in fields(metadata, "Provides-Extra"))
        try:
            known = tomllib.loads(pyproject)
            tables = {**known.get("dependency-groups", {})}
            names = {canonicalize_name(name) for name in tables}
            poetrys = poetry_groups(known).items()
            tables |= {name: texts for name, texts in poetrys if canonicalize_name(name) not in names}
            for more in _groups_of_tools(known):
                names = {canonicalize_name(name) for name in tables}
                tables |= {name: texts for name, texts in more.items() if canonicalize_name(name) not in names}
            self._groups = DependencyGroupResolver(tables)
            self.groups = tuple(canonicalize_name(name) for name in tables)
        except (ValueError, TypeError, AttributeError, ExceptionGroup) as error:
            raise Lacking(f"pyproject.toml: {_first_words(error)}") from error

    def strictly(self, wanted: Wanted, declared: Declared = NOTHING) -> Needs:
        """Return what a suite needs, with what is ``declared`` elsewhere; raises ``Lacking`` for any name that is not offered."""
        for option, kind, asked, offered in self._asked(wanted):
            if absent := [name for name in asked if name not in offered]:
                raise Lacking(f"there is no {kind} {_listed(absent)}; there {_are(offered)}", option)
        by_user = wanted.extras is not None or wanted.groups is not None
        return self._needs(wanted, NOTHING if by_user else declared)

    def leniently(self, wanted: Wanted) -> Needs:
        """Return what a suite needs, of one release among many: names come and go, and one of those asked for is enough.

        Raises ``Lacking`` where none is offered.
        """
        rows = list(self._asked(wanted))
        asked = [name for _, _, names, _ in rows for name in names]
        if asked and not any(set(names) & set(offered) for _, _, names, offered in rows):
            offers = " and ".join(f"{kind}s {_are(offered)}" for _, kind, _, offered in rows)
            raise Lacking(f"there is neither extra nor group {_listed(asked)}: {offers}")
        return self._needs(wanted, NOTHING)

    def _asked(self, wanted: Wanted) -> Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
        """Yield option, kind, what was asked for, and what is offered, of extras and of groups."""
        yield "--spip-extras", "extra", _normal(wanted.extras or ()), self.extras
        yield "--spip-groups", "group", _normal(wanted.groups or ()), self.groups

    def _needs(self, wanted: Wanted, declared: Declared) -> Needs:
        extras = _chosen(wanted.extras, declared.extras, self.extras)
        groups = _chosen(wanted.groups, declared.groups, self.groups)
        requirements = dict.fromkeys(text for group in groups for text in self._requirements(group))
        requirements |= dict.fromkeys(declared.requirements)
        found = [f"extra {name}" for name in extras] + [f"group {name}" for name in groups]
        return Needs(extras, tuple(requirements), (*found, *([declared.text] if declared else [])))

    def _requirements(self, group: str) -> Iterator[str]:
        try:
            found = self._groups.resolve(group)
        except (ValueError, TypeError, LookupError, ExceptionGroup) as error:
            raise Lacking(f"pyproject.toml: dependency group {group!r}: {_first_words(error)}") from error
        for requirement in found:
            # A foreign URL could lead to the user's files; and no index can say what lies behind one as of a date.
            if requirement.url:
                raise Lacking(f"dependency group {group!r} holds {str(requirement)!r}, which no index lists")
            yield str(requirement)


def fields(metadata: str, name: str) -> list[str]:
    """Return the values of a field of core metadata, which are written as e-mail headers."""
    return [str(value).strip() for value in HeaderParser().parsestr(metadata).get_all(name, [])]


def pinned(name: str, extras: Collection[str], version: str, *, exact: bool = False) -> str:
    """Return the requirement of one version: ``requests[socks]==2.20.0``; an ``exact`` one admits no local version of it."""
    named = f"[{','.join(sorted(extras))}]" if extras else ""
    return f"{name}{named}{'===' if exact else '=='}{version}"


def direct_requirements(metadata: str, extras: Collection[str], markers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a distribution requires itself, with these extras, where these markers hold.

    An extra that names others of its own project (``demo[all]``) brings theirs.
    """
    own = canonicalize_name("".join(fields(metadata, "Name")[:1]))
    chosen, found = {canonicalize_name(extra) for extra in extras}, dict[str, None]()
    while True:
        applying = applying_requirements(metadata, chosen, markers)
        more = {canonicalize_name(e) for one in applying if canonicalize_name(one.name) == own for e in one.extras}
        if more <= chosen:
            break
        chosen |= more
    for one in applying:
        if canonicalize_name(one.name) != own:
            one.marker = None
            found[str(one)] = None
    return tuple(found)


def applying_requirements(
    metadata: str, extras: Collection[str], markers: Mapping[str, str]
) -> tuple[Requirement, ...]:
    """Return what metadata require, with some extras, where these markers hold."""
    known = parsed_requirements(fields(metadata, "Requires-Dist"))
    return tuple(one for one in known if _applies(one, extras, markers))


def parsed_requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that can be parsed: what to make of others is for the resolver to say."""
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue


def _applies(requirement: Requirement, extras: Collection[str], markers: Mapping[str, str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in ("", *extras))


def _chosen(by_user: Sequence[str] | None, named: Sequence[str], offered: Collection[str]) -> tuple[str, ...]:
    """Return the extras, or groups, that count: the user's; else the narrowest that there are, and those ``named`` elsewhere."""
    if by_user is not None:
        return tuple(name for name in _normal(by_user) if name in offered)
    usual = [name for name in USUAL if name in offered][:1]
    usual += [name for name in _normal(named) if name in offered]
    last = [LAST] if not usual and LAST in offered else []
    return tuple(dict.fromkeys((*usual, *last)))


def _groups_of_tools(pyproject: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
    """Yield the dependency groups that PDM and uv knew before there were any for everybody."""
    tool = pyproject.get("tool", {})
    yield {**tool.get("pdm", {}).get("dev-dependencies", {})}
    dev = tool.get("uv", {}).get("dev-dependencies")
    yield {LAST: dev} if dev else {}


def _normal(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(canonicalize_name(name) for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _are(offered: Sequence[str]) -> str:
    return f"are {', '.join(sorted(offered))}" if offered else "are none"


def _first_words(error: BaseException) -> str:
    """Return the first line of an error, or of the first of those that it groups."""
    while inner := getattr(error, "exceptions", ()):
        error = inner[0]
    words: Any = str(error) or type(error).__name__
    return str(words).splitlines()[0]
