"""Keeps tests apart from the person who runs them: no home, cache, configuration or index of theirs is touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

THEIRS = ("GIT_", "PIP_", "UV_", "XDG_")
"""Prefixes of environment variables that change what git, pip and uv do."""


# What a script starts in the background ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the session a home of its own; pyenv's interpreters stay where they are, for they are only read."""
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(THEIRS)]:
            patch.delenv(name)
        for name in ("NETRC", "VIRTUAL_ENV"):
            patch.delenv(name, raising=False)
        for name, value in settings(home).items():
            patch.setenv(name, value)
        patch.setenv("PYENV_ROOT", pyenv)
        yield home


def settings(home: Path) -> dict[str, str]:
    """Return the environment of a person who has configured nothing."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "UV_CACHE_DIR": str(home / ".cache" / "uv"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_CONFIG_FILE": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
