"""Which releases of a project enter the matrix. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Hashable, Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pytest_spip.errors import UsageProblem
from pytest_spip.model import DistFile, Release

__all__ = ["as_of", "choose", "parse_policy"]

_KEYS: dict[str, Callable[[Version], Hashable]] = {
    "all": lambda version: version,
    "pairwise": lambda version: version,  # which of them meet is for the cross to choose
    "latest": lambda _: None,
    "major": lambda version: (version.epoch, version.major),
    "minor": lambda version: (version.epoch, version.major, version.minor),
}


def parse_policy(text: str) -> str:
    """Return a valid policy; raises ``UsageProblem`` for anything but ``all|latest|minor|major|pairwise|N``."""
    policy = text.strip().lower()
    if policy in _KEYS or (policy.isdecimal() and int(policy) > 0):
        return policy
    raise UsageProblem(
        "--spip-versions", f"{text!r} is no policy", "use all, latest, minor, major, pairwise or a positive number"
    )


def choose(
    releases: Sequence[Release], wanted: SpecifierSet, policy: str, *, pre: bool, yanked: bool
) -> tuple[Release, ...]:
    """Return the releases to try, oldest first.

    Pre-releases enter with ``pre`` or when the specifier names one; yanked releases with ``yanked`` or when the specifier
    pins exactly one version (PEP 592). One of which local versions are listed is marked as ambiguous.
    """
    pinned = any(part.operator in {"==", "==="} and not part.version.endswith(".*") for part in wanted)
    allow_pre = pre or bool(wanted.prereleases)
    publics = {release.version.partition("+")[0] for release in releases if "+" in release.version}
    fit = [
        dataclasses.replace(release, ambiguous=True) if release.version in publics else release
        for release in releases
        if (yanked or pinned or not release.yanked)
        and (allow_pre or not Version(release.version).is_prerelease)
        and wanted.contains(release.version, prereleases=True)
    ]
    if policy.isdecimal():
        return tuple(fit[-int(policy) :])
    newest = {_KEYS[policy](Version(release.version)): release for release in fit}
    return tuple(newest.values())


def as_of(releases: Sequence[Release], instant: datetime.datetime) -> tuple[Release, ...]:
    """Return the releases as the index listed them before an instant: later files are gone, and so are undated ones.

    A file of that very instant is gone too, as for uv's ``--exclude-newer``: what is planned must be found again. Files of
    find-links stay, as for uv: they have no dates.
    Raises ``UsageProblem`` where the index dates no file at all, for then the answer would be a guess.
    """
    files = [file for release in releases for file in release.files if not file.linked]
    if files and not any(_instant(file.upload_time) for file in files):
        raise UsageProblem(
            "--spip-exclude-newer",
            f"{releases[0].source or 'the find-links place'} gives no upload times for {releases[0].package}",
            "leave the option out, or use an index that lists upload times",
        )
    left = (
        dataclasses.replace(release, files=tuple(file for file in release.files if _is_before(file, instant)))
        for release in releases
    )
    return tuple(release for release in left if release.files)


def _is_before(file: DistFile, instant: datetime.datetime) -> bool:
    if file.linked:
        return True
    moment = _instant(file.upload_time)
    return moment is not None and moment < instant


def _instant(text: str) -> datetime.datetime | None:
    """Return an upload time; None where there is none, or none that one can read."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
