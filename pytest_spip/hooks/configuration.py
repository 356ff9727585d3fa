"""Sets a project's own pytest configuration aside: it is for the project's suites, not for the session that runs a matrix.

The only module that touches private fields of pytest's ``Config``: no hook lets a plugin do this.
"""

from __future__ import annotations

import argparse
import copy
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_spip.hooks.conftests import spare_conftests
from pytest_spip.model import NO_CHECK
from pytest_spip.names import MODULE_PREFIX
from pytest_spip.options import OPTIONS, joined_arguments

__all__ = ["LEFT_OUT", "set_aside", "settings_of", "waive_plugins"]

OURS = "spip_"
LEFT_OUT = pytest.StashKey[tuple[str, ...]]()
"""The settings of the project that the session does without, by name."""
VALUED = frozenset(option.flag for option in OPTIONS if option.kind in ("text", "texts"))
"""Our options whose value may be the next argument."""


def waive_plugins(config: pytest.Config, parser: pytest.Parser) -> None:
    """Have pytest not ask for the plugins that the project's tests need, unless a path is named.

    pytest asks before it calls any hook with all options known, so a path is what exists, not what is no option's value.
    """
    typed = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]
    named = parser.parse_known_args(joined_arguments(typed), namespace=copy.copy(config.option)).file_or_dir
    if not any(os.path.exists(config.invocation_params.dir / name.partition("::")[0]) for name in named):
        settings_of(config).pop("required_plugins", None)
        vars(config)["_inicache"].clear()


def set_aside(config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    """Keep of the project's configuration our own keys alone, unless ordinary tests are asked for as well.

    Call it before pytest looks for conftests: those that mention us are loaded, and no others. ``args`` lose the addopts.
    """
    by_user = "addopts" in _overridden(config.known_args_namespace)  # typed, as -o addopts=...
    addopts = [] if by_user else joined_arguments(config.getini("addopts"))
    typed = args[len(addopts) :] if args[: len(addopts)] == addopts else args  # workers get what the user typed
    kept = [*_our_words(addopts), *typed]
    namespace = parser.parse_known_args(kept, namespace=copy.copy(config.option))
    if _runs_ordinary_tests(config, namespace):
        return
    before = config.known_args_namespace
    vars(namespace)["confcutdir"] = before.confcutdir
    args[:], config.known_args_namespace = kept, namespace
    conftests = spare_conftests(config, parser, args)
    _undo_python_path(config)
    settings = settings_of(config)
    dropped = [key for key in settings if not key.startswith(OURS) and key not in _overridden(namespace)]
    for key in dropped:
        del settings[key]
    vars(config)["_inicache"].clear()
    config.stash[LEFT_OUT] = (*(key for key in dropped if key not in _overridden(before)), *conftests)


def _overridden(namespace: argparse.Namespace) -> frozenset[str]:
    """Return the settings that arguments override: by ``-o``, or by an option that stands for it."""
    return frozenset(text.partition("=")[0] for text in namespace.override_ini or ())


def _runs_ordinary_tests(config: pytest.Config, namespace: argparse.Namespace) -> bool:
    """Return whether the project's own tests run in this session, for whose sake its configuration holds."""
    check = namespace.spip_check or config.getini("spip_check")
    return check == NO_CHECK or not all(name.startswith(f"{MODULE_PREFIX}::") for name in namespace.file_or_dir)


def settings_of(config: pytest.Config) -> dict[str, Any]:
    """Return what was read from the configuration file; ``inicfg`` is its name in pytest 8."""
    fields = vars(config)
    settings: dict[str, Any] = fields["_inicfg"] if "_inicfg" in fields else fields.get("inicfg", {})
    return settings


def _undo_python_path(config: pytest.Config) -> None:
    """Take the project's modules out of the way: they are imported in sandboxes only."""
    for path in map(str, config.getini("pythonpath")):
        if path in sys.path:
            sys.path.remove(path)


def _our_words(addopts: Sequence[str]) -> Iterator[str]:
    """Yield our own options among a project's addopts, with their values."""
    words = iter(addopts)
    for word in words:
        if word == "--spip" or word.startswith("--spip-"):
            yield word
            if word in VALUED:
                yield from (value for value in [next(words, None)] if value is not None)
