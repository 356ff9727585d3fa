"""pytest's hooks, each a few lines. Without a matrix they do nothing and import none of the rooms."""

from __future__ import annotations

import contextlib
import gc
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import pytest

from pytest_spip.names import MODULE_PREFIX
from pytest_spip.options import MARKS, OPTIONS, joined_arguments

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from pytest_spip.options import Option
    from pytest_spip.session.spip_env import SpipEnvironment

OWN = "pytest_spip."
"""What the names of our modules begin with."""
ASKING = ("spip_matrix", "spip_resume", "spip_active")
"""Options of which each asks for a matrix."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the option table, each option with its ini twin."""
    group = parser.getgroup("spip", "pytest-spip: every release of a package x every Python")
    group.addoption(
        "--spip", action="store_true", default=None, dest="spip_active", help="use the matrix that the ini file names"
    )
    for option in OPTIONS:
        _add(parser, group, option)
    for name, meaning in MARKS.items():
        parser.addini(name, meaning, type="linelist", default=[])
    config = pluginmanager.get_plugin("pytestconfig")
    assert config is not None, "pytest registers it first"
    if any(str(arg).startswith(("--spip", f"{MODULE_PREFIX}::")) for arg in config.invocation_params.args):
        with _as_they_are(config):
            from pytest_spip.hooks.configuration import waive_plugins

        waive_plugins(config, parser)


def _add(parser: pytest.Parser, group: pytest.OptionGroup, option: Option) -> None:
    if option.kind == "flag":
        group.addoption(option.flag, action="store_true", default=None, dest=option.dest, help=option.help)
        parser.addini(option.dest, option.help, type="bool", default=False)
    elif option.kind == "texts":
        group.addoption(
            option.flag, action="append", default=None, dest=option.dest, metavar=option.metavar, help=option.help
        )
        parser.addini(option.dest, option.help, type="linelist", default=[])
    elif option.kind == "word":
        group.addoption(
            option.flag,
            nargs="?",
            const=option.alone,
            default=None,
            dest=option.dest,
            metavar=option.metavar,
            help=option.help,
        )
        parser.addini(option.dest, option.help, type="string", default="")
    else:
        group.addoption(option.flag, default=None, dest=option.dest, metavar=option.metavar, help=option.help)
        parser.addini(option.dest, option.help, type="string", default="")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Have argparse find the values of our options; set the project's configuration aside.

    Before other plugins act on that: pytest itself stops at a warning filter whose class it cannot import.
    """
    namespace, joined = early_config.known_args_namespace, joined_arguments(args)
    if joined != args:
        args[:] = joined
        fresh = vars(parser.parse_known_args(joined))
        vars(namespace).update({name: fresh[name] for name in ("file_or_dir", *(one.dest for one in OPTIONS))})
    if any(map(_is_ours, namespace.file_or_dir)) or any(getattr(namespace, dest, None) for dest in ASKING):
        with _as_they_are(early_config):
            from pytest_spip.hooks.configuration import set_aside

        set_aside(early_config, parser, args)
    return (yield)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer our own hooks to conftest files and plugins."""
    from pytest_spip import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Wake up when a matrix is asked for: by option, by ``--spip`` and ini, or by a node id of ours."""
    config.addinivalue_line(
        "markers",
        "spip(versions, python, timeout, network, slots, without): of a test function that asks for spip_env, which versions "
        "and Pythons it is tried with, seconds for each program, whether they use the network; of these and of a matrix's items, "
        'slots={"gpu": 1} gives devices of their own, without="run" or "skip" says what happens where there are too few',
    )
    if _is_asked_for(config):
        with _as_they_are(config):
            from pytest_spip.hooks.activation import activate

            activate(config, _named(config))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Say how many workers ``-n auto`` means for a matrix; without one, leave it to xdist, which asks before configuration."""
    if not _is_asked_for(config):
        return None
    with _as_they_are(config):
        from pytest_spip.hooks.numprocesses import auto_workers

    return auto_workers(config)


def pytest_markeval_namespace(config: pytest.Config) -> dict[str, object]:
    """Have conditions of ``skipif`` and ``xfail`` ask ``spip("colorama<0.3")``; without a matrix that holds for nothing."""
    functions = config.pluginmanager.get_plugin("spip-functions")
    return {"spip": functions.matches if functions else lambda _: False}


@pytest.fixture
def spip_env(request: pytest.FixtureRequest) -> Iterator[SpipEnvironment]:
    """One combination's environment: the test is run once in each of the matrix. See ``pytest_spip.session.spip_env``."""
    functions = request.config.pluginmanager.get_plugin("spip-functions")
    if functions is None:
        pytest.skip("spip_env needs a matrix: add --spip-matrix=REQ, or --spip where the ini file names one")
    if functions.only_lists:
        pytest.skip("no environment is made where pytest only lists")
    with functions.environment(request) as environment:
        yield environment


class _OwnFinder:
    """Finds our modules as Python does: pytest would rewrite the assertions of all of them, as of any plugin's.

    Where it may not keep the bytecode, which is in containers often so, that takes longer than all else that is done here.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path, target) if name.startswith(OWN) else None


@contextlib.contextmanager
def _as_they_are(config: pytest.Config) -> Iterator[None]:
    """Have our modules imported as they are, from now on to the end of the session.

    What is imported here stays to the end: neither does the collector look through it meanwhile, nor when pytest calls it at last.
    """
    if _OwnFinder not in sys.meta_path:
        sys.meta_path.insert(0, _OwnFinder)
        config.add_cleanup(lambda: sys.meta_path.remove(_OwnFinder))
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            config.add_cleanup(gc.unfreeze)  # the process may live on, and begin more sessions
        gc.freeze()
        if collects:
            gc.enable()


def _is_asked_for(config: pytest.Config) -> bool:
    return bool(_named(config)) or any(config.getoption(dest) for dest in ASKING)


def _named(config: pytest.Config) -> list[str]:
    """Return the arguments that are node ids of ours."""
    return [arg for arg in config.args if _is_ours(arg)]


def _is_ours(arg: str) -> bool:
    return arg.startswith(f"{MODULE_PREFIX}::")
