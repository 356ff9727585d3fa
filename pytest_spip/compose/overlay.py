"""Environments without copying: layers over a worktree, put together by the sandbox for each child and gone with it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_spip.common.trees import give_tree
from pytest_spip.compose.layers import Layers
from pytest_spip.compose.worktree import PLACE, composed_at, library
from pytest_spip.errors import HarnessProblem
from pytest_spip.model import Composed, Environment, Interpreter, StoredWheel

__all__ = ["Overlay"]

HOME, TMP, SOURCES = "/home/user", "/tmp", "/src"  # noqa: S108  # in a view of the child's own, see run/child/view.py
"""Where a combination's own directories are: short, for paths of sockets have 108 bytes (unix(7)), and outside of the prefix."""
OVERLAY_LIMIT = 150
"""Layers of one environment: their names must fit a page, which is what a mount's options have (mount(2))."""


class Overlay:
    """A worktree that stays as it is; what a combination brings lies over it, and what it writes over that.

    ``owner`` is as in :class:`Layers`.
    """

    def __init__(self, path: Path, interpreter: Interpreter, layers: Layers, owner: int) -> None:
        self._interpreter = interpreter
        self._layers = layers
        lib = path / "lib" / library(interpreter)
        (lib / "site-packages").mkdir(parents=True, exist_ok=True)  # git keeps no empty directories
        if owner:
            give_tree(path, owner)
        self._bare = composed_at(path, lib, HOME, TMP, SOURCES)

    @contextlib.contextmanager
    def composed(self, environment: Environment) -> Iterator[Composed]:
        """Yield the environment's description; there is nothing to clear away. Raises ``HarnessProblem``."""
        yield self._described(environment)

    def extended(self, environment: Environment, _: Sequence[StoredWheel]) -> Composed:
        """Return the description of an environment that has more wheels than before. Raises ``HarnessProblem``."""
        return self._described(environment)

    def _described(self, environment: Environment) -> Composed:
        wheels = environment.wheels
        # The last wheel is the uppermost layer. Where one replaces a file of another they are one layer: bytecode of the file
        # that is hidden must not be met beside the other's source.
        apart = len(wheels) <= OVERLAY_LIMIT and not environment.replaces
        stacks = [(wheel,) for wheel in reversed(wheels)] if apart else [wheels]
        try:
            names = [self._layers.name(stack, self._interpreter) for stack in stacks]
            trees, unrewritten = self._trees(environment)
            scripts = tuple(
                script for wheel in wheels for script in self._layers.scripts(wheel, Path(self._bare.python))
            )
        except OSError as error:
            raise HarnessProblem(f"cannot lay out an environment's wheels: {error}") from error
        return dataclasses.replace(
            self._bare,
            cwd=f"{SOURCES}/{environment.place or PLACE}",
            layers=tuple(names),
            trees=trees,
            scripts=scripts,
            uncompiled=self._layers.uncompiled(names),
            unrewritten=unrewritten,
            layer_of={stack[0].sha256: name for stack, name in zip(stacks, names, strict=True) if len(stack) == 1},
        )

    def _trees(self, environment: Environment) -> tuple[tuple[str, ...], str]:
        """Return the layers of an environment's tree, and the name of one that is to be made with its tests' bytecode."""
        if not environment.tree:
            return (), ""
        tree = self._layers.tree(Path(environment.tree), environment.place.partition("/")[0] or PLACE)
        pytest = next((wheel for wheel in environment.wheels if wheel.name == "pytest"), None)
        tests, unrewritten = self._layers.rewritten(tree, pytest, self._interpreter) if pytest else ((), "")
        return (*tests, tree), unrewritten
