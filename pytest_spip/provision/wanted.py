"""What the user asks of every environment."""

from __future__ import annotations

import dataclasses

__all__ = ["Wanted"]

PYTEST = ("pytest",)
BOUNDED_PYTEST = ('pytest>=7.4; python_version < "3.12"', 'pytest>=8.2; python_version >= "3.12"')
"""What is asked for where low versions are preferred: nobody means the first pytest that there was."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks of every environment: whether its suite is to be run, and requirements beside those of the release.

    ``extras`` and ``groups`` are None where those of the usual names are meant.
    """

    suite: bool = False
    extra_requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def always(self, resolution: str) -> tuple[str, ...]:
        """Return the requirements of every environment, whatever its project says."""
        pytest = BOUNDED_PYTEST if resolution.startswith("lowest") else PYTEST
        return (*self.extra_requirements, *(pytest if self.suite else ()))
