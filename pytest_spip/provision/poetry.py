"""Poetry's own dependency groups, from before there were any for everybody (PEP 735), in the words of those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["poetry_groups", "poetry_requirements"]


def poetry_groups(pyproject: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the requirements of each group below ``tool.poetry``, by its name.

    What cannot be put into the words of PEP 508, such as a choice between ranges, is left as it is, for the reader to refuse.
    """
    table = pyproject.get("tool", {}).get("poetry", {})
    groups = {name: group.get("dependencies", {}) for name, group in table.get("group", {}).items()}
    if "dev-dependencies" in table:
        groups.setdefault("dev", table["dev-dependencies"])
    return {name: list(_requirements(name, wanted)) for name, wanted in groups.items()}


def poetry_requirements(pyproject: Mapping[str, Any]) -> list[str]:
    """Return the requirements of ``tool.poetry.dependencies``, Python's version aside."""
    wanted = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return list(_requirements("main", {name: constraints for name, constraints in wanted.items() if name != "python"}))


def _requirements(group: str, wanted: Mapping[str, Any]) -> Iterator[str]:
    from poetry.core.factory import Factory  # takes a tenth of a second, and few projects need it

    for name, constraints in wanted.items():
        for constraint in constraints if isinstance(constraints, list) else [constraints]:
            try:
                yield Factory.create_dependency(name, constraint, groups=[group]).to_pep_508()
            except Exception as error:  # whatever a foreign file makes of it
                yield f"{name} {constraint}: {error}"
