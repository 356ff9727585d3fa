"""What the user's settings of uv or pip say on resolutions: one frozen record, read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

__all__ = ["ResolutionSettings"]


@dataclasses.dataclass(frozen=True, slots=True)
class ResolutionSettings:
    """Settings that decide what a resolution takes, beside the indexes. Empty fields leave it to uv's defaults.

    ``constraints``, ``overrides``, ``excludes`` and ``build_constraints`` are requirements. ``exclude_newer`` is an instant, ISO
    8601 in UTC; ``exclude_newer_package`` are pairs of a project and an instant, or nothing where no date counts for it.
    ``ignored`` names the settings that do not count here.
    """

    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    build_constraints: tuple[str, ...] = ()
    prerelease: str = ""
    index_strategy: str = ""
    resolution: str = ""
    exclude_newer: str = ""
    exclude_newer_package: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal where equal requirements resolve to equal locks; resolution and date are parts of the plan."""
        same = dataclasses.replace(self, resolution="", exclude_newer="", ignored=())
        return dataclasses.astuple(same) if same != ResolutionSettings() else ()

    def date_of(self, project: str, date: str) -> str:
        """Return the instant that counts for a project, of a normalised name, where ``date`` counts for all."""
        return dict(self.exclude_newer_package).get(project, date)

    @property
    def lines(self) -> tuple[str, ...]:
        """Return what counts and what does not, for a person: at most a line each."""
        parts = "; ".join(self._parts())
        counts = (f"resolved with your settings: {parts}",) if parts else ()
        return (*counts, *((f"not honoured: {', '.join(self.ignored)}",) if self.ignored else ()))

    def _parts(self) -> Iterator[str]:
        for name in ("constraints", "overrides", "excludes", "build_constraints"):
            if texts := getattr(self, name):
                more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
                yield f"{name.replace('_', ' ')} {', '.join(texts[:5])}{more}"
        for name in ("prerelease", "index_strategy", "resolution", "exclude_newer"):
            if text := getattr(self, name):
                yield f"{name.replace('_', '-')} {text}"
        if self.exclude_newer_package:
            dates = (f"{name} {date or 'any date'}" for name, date in self.exclude_newer_package)
            yield f"exclude-newer {', '.join(dates)}"
