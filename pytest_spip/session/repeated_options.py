"""What a line that shows a failure again must say of its run: sources, and options that decide on verdicts."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytest_spip.common.urls import redact
from pytest_spip.model import Indexes
from pytest_spip.options import OPTIONS, Settings

__all__ = ["index_options", "limited_names", "our_options", "uv_suffices"]

REPEATED = (
    *("project", "with", "extras", "groups", "command", "exclude-newer", "build", "network", "env", "sandbox"),
    *("timeout", "memory", "inactivity"),
)
"""Options that decide on verdicts: a line of ours repeats those that were given."""


def index_options(indexes: Indexes) -> str:
    """Return the options that make uv see the same indexes, whatever it is configured with; nothing for the public one.

    Without credentials: where there are any, :func:`uv_suffices` is false.
    """
    settings = indexes.settings
    words = [f"--index={redact(url)}" for url in indexes.urls[:-1]]
    words += [f"--default-index={redact(url)}" for url in indexes.urls[-1:]]
    words = [] if indexes.origin == "default" else words or ["--no-index"]
    words += [f"--find-links={redact(place)}" for place in indexes.find_links]
    words += [f"--index-strategy={settings.index_strategy}"] if settings.index_strategy else []
    words += [f"--prerelease={settings.prerelease}"] if settings.prerelease else []
    words += [f"--exclude-newer-package={name}={date or 'false'}" for name, date in settings.exclude_newer_package]
    return shlex.join(words)


def uv_suffices(indexes: Indexes) -> bool:
    """Return True if a command of uv's can name all that a run resolves with: no credentials, and no settings that are files'."""
    settings = indexes.settings
    of_files = settings.overrides, settings.excludes, settings.build_constraints
    ignored = [name for name in settings.ignored if not name.startswith("pip's")]  # uv does not read those either
    places = (*indexes.urls, *indexes.find_links)
    return not (any(of_files) or ignored or settings.resolution or any(redact(one) != one for one in places))


def limited_names(indexes: Indexes) -> tuple[str, ...]:
    """Return the projects that the user's constraints name."""
    return tuple(sorted({canonicalize_name(Requirement(text).name) for text in indexes.settings.constraints}))


def our_options(settings: Settings) -> tuple[str, ...]:
    """Return the options with which a run of ours gives the same verdicts, as far as they are not the defaults."""
    usual = dataclasses.replace(Settings(("",)), timeout=Settings.usual_timeout(settings.check))
    given = (option for option in OPTIONS if option.name in REPEATED)
    words = [word for option in given for word in _option(option.flag, option.field, settings, usual)]
    # Names of versions are those of node ids; a path says more.
    return (*words, *([f"--spip-python={settings.python}"] if "/" in settings.python else []))


def _option(flag: str, field: str, settings: Settings, usual: Settings) -> Iterator[str]:
    value = getattr(settings, field)
    if value == getattr(usual, field):
        return
    if isinstance(value, bool):
        yield flag
    elif field == "command":
        yield f"{flag}={shlex.join(value)}"
    elif isinstance(value, tuple):
        yield from (f"{flag}={text}" for text in value) if value else (f"{flag}=,",)
    else:
        yield f"{flag}={value:g}" if isinstance(value, float) else f"{flag}={value}"
