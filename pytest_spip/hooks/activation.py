"""Wake up: read the settings, and register the plugins that a session with a matrix needs."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_spip.common.arguments import hide_arguments
from pytest_spip.common.nodeids import options_for
from pytest_spip.errors import SpipError, UsageProblem
from pytest_spip.hooks.attempts import Attempts
from pytest_spip.hooks.forked import Unforked
from pytest_spip.hooks.functions import ConditionalMark, Functions, read_marks
from pytest_spip.hooks.ini_values import ini_value
from pytest_spip.hooks.items import Matrix
from pytest_spip.hooks.listing import only_lists
from pytest_spip.hooks.timeouts import Timeouts
from pytest_spip.hooks.worker_mode import reason_for_pytest
from pytest_spip.model import NO_CHECK
from pytest_spip.options import OPTIONS, Option, Settings
from pytest_spip.session.umask import SessionUmask
from pytest_spip.session.worker_spec import WorkerSpec
from pytest_spip.settings import make_settings

if TYPE_CHECKING:
    from pytest_spip.hooks.forked_workers import ForkedWorkers

__all__ = ["activate"]

ENDLESS = 1_000_000
RESUME = next(option for option in OPTIONS if option.name == "resume")


def activate(config: pytest.Config, named: Sequence[str]) -> None:
    """Register the controller's or the worker's plugin; take our node ids out of what pytest will look for on disk."""
    workerinput = getattr(config, "workerinput", None)
    try:
        settings = None if workerinput is not None else _settings(config, named)
        check = settings.check if settings else WorkerSpec.from_plain(vars(config)["workerinput"]["spip"]).check.kind
    except SpipError as error:
        raise pytest.UsageError(str(error)) from error
    if named:
        config.args[:] = [arg for arg in config.args if arg not in named]
    elif config.args_source is not pytest.Config.ArgsSource.ARGS and check != NO_CHECK:
        config.args[:] = []  # ordinary tests run beside a matrix only when they are named, or instead of it
    marks = list(read_marks(config))
    if workerinput is not None:
        from pytest_spip.hooks.worker import WorkerMatrix  # the controller has no use for what it imports

        spec = WorkerSpec.from_plain(workerinput["spip"])
        _register(config, marks, WorkerMatrix(config, spec, workerinput["workerid"]))
    elif settings is not None:
        _let_workers_restart(config)
        if only_lists(config):
            config.option.dist, config.option.tx = "no", []  # there is no run that workers could be of
        umask = SessionUmask()
        config.add_cleanup(umask.restore)
        workers = _forked_workers(config)  # before there are threads; they load the rest while this process does
        from pytest_spip.session.sandbox_choice import SandboxChoice

        choice = SandboxChoice(settings, os.environ)  # it waits for programs, and the imports need not wait for it
        from pytest_spip.hooks.controller import Controller  # workers have no use for what planning imports

        register = functools.partial(_register, config, marks)
        controller = Controller(config, named, settings, choice, register, umask, workers)
        config.pluginmanager.register(controller, "spip-controller")


def _forked_workers(config: pytest.Config) -> ForkedWorkers | None:
    """Have workers forked from this process, unless they must be sessions of pytest, which load all from the start."""
    if config.getoption("dist", "no") == "no" or reason_for_pytest(config):
        return None
    from pytest_spip.hooks.forked_workers import forked_workers  # execnet may not be installed

    return forked_workers(config)


def _register(config: pytest.Config, marks: Sequence[ConditionalMark], matrix: Matrix) -> None:
    """Register a matrix, once there is a plan, and the plugins that look after its items."""
    timeouts = Timeouts(config)
    for plugin, name in (
        (matrix, "spip-matrix"),
        (Attempts(), "spip-attempts"),
        (Unforked(), "spip-unforked"),
        (timeouts, "spip-timeouts"),
        (Functions(config, matrix, timeouts, marks), "spip-functions"),
    ):
        config.pluginmanager.register(plugin, name)


def _let_workers_restart(config: pytest.Config) -> None:
    """Have xdist replace dead workers for as long as there is work: a combination that kills two is given up, not the run."""
    if config.getoption("maxworkerrestart", "") is None:
        config.option.maxworkerrestart = str(ENDLESS)


def _settings(config: pytest.Config, named: Sequence[str]) -> Settings:
    if _value(config, RESUME):
        return _resumed(config, named)
    values = {option.name: _value(config, option) for option in OPTIONS}
    if named and not config.getoption("spip_matrix") and not values["matrix"]:
        values |= options_for(named, values)
    if values["sandbox"] == "off" and config.getoption("spip_sandbox") is None:
        raise UsageProblem("spip_sandbox", "an ini file cannot turn it off", "use --spip-sandbox=off for this once")
    settings = make_settings(values, config.invocation_params.dir)
    if settings.queue:
        _hide_password(settings.queue, config)
    if values["matrix"] and not settings.matrix:
        raise UsageProblem("--spip-matrix", f"{values['matrix'][0]} names no requirement", "write one a line")
    if not settings.matrix:
        raise UsageProblem("--spip", "no matrix is named", "add --spip-matrix=REQ, or spip_matrix to the ini file")
    return settings


def _hide_password(queue: str, config: pytest.Config) -> None:
    """Let nobody who lists processes see the password of a database, from here on."""
    from pytest_spip.hosts.urls import parse_url  # few sessions share a run

    hide_arguments(parse_url("--spip-queue", queue, config.invocation_params.dir).secrets)


def _resumed(config: pytest.Config, named: Sequence[str]) -> Settings:
    from pytest_spip.session.resume import is_complete, resumed_settings  # workers have no use for what it imports

    if named:
        raise UsageProblem("--spip-resume", f"{named[0]} is chosen when a run is planned", "choose with -k")
    given = {option.name: config.getoption(option.dest) for option in OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    given["resume"] = _value(config, RESUME)
    settings = resumed_settings(config.rootpath, given, config.invocation_params.dir)
    if settings.queue:
        _hide_password(settings.queue, config)
    if is_complete(config.rootpath, settings):
        config.option.dist, config.option.tx = "no", []  # there is nothing for workers to do
    return settings


def _value(config: pytest.Config, option: Option) -> Any:
    given = config.getoption(option.dest)
    return ini_value(config, option) if given is None else given
