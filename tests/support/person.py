"""Somebody who configures uv and pip."""

from __future__ import annotations

from pathlib import Path

from pytest_spip.model import Indexes
from pytest_spip.plan.sources import user_indexes

__all__ = ["Person"]


class Person:
    """Somebody's home and project, with configuration files in them."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "home" / "project" / "deep"
        self.project.mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file below the home directory."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def indexes(self, **environ: str) -> Indexes:
        """Return the settings of a person who works in the project."""
        return user_indexes({"HOME": str(self.home), **environ}, self.project)

    def urls(self, **environ: str) -> list[str]:
        """Return the hosts of the settings' indexes, which are enough to tell them apart."""
        return [url.removeprefix("https://").partition("/")[0] for url in self.indexes(**environ).urls]
