"""``pytest-spip run ARGS...``: pytest with these arguments, and nothing of the project's own pytest configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_spip.options import OPTIONS, joined_arguments

__all__ = ["parser", "run"]

NEUTRAL = ("addopts=", "filterwarnings=", "minversion=", "pythonpath=", "required_plugins=")
"""Settings over which pytest stops before it loads a plugin; what else the project configures, the plugin sets aside."""


def run(arguments: Sequence[str]) -> NoReturn:
    """Become pytest, as its own command starts it: the working directory is no place to import from."""
    overrides = [word for setting in NEUTRAL for word in ("-o", setting)]
    joined = joined_arguments(arguments)  # pytest would look into the files that they name
    os.execv(sys.executable, [sys.executable, "-P", "-m", "pytest", *overrides, *joined])  # noqa: S606  # no shell is what we want


def parser() -> argparse.ArgumentParser:
    """Return a parser that knows our options, for completion: what is given here is pytest's to read."""
    made = argparse.ArgumentParser(prog="pytest-spip run", add_help=False)
    for option in OPTIONS:
        value = {"action": "store_true"} if option.kind == "flag" else {"nargs": "?"} if option.kind == "word" else {}
        made.add_argument(option.flag, help=option.help.replace("%", "%%"), **value)  # type: ignore[arg-type]  # each fits
    made.add_argument("arguments", nargs="*")
    return made
