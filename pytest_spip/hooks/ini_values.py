"""Our keys of pytest's configuration, whose values may be typed: ``spip_timeout = 30`` in ``pytest.toml``."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hooks.configuration import settings_of
from pytest_spip.options import Option

__all__ = ["ini_value"]


def ini_value(config: pytest.Config, option: Option) -> Any:
    """Return an option's value in the configuration, or its default there. Raises ``UsageProblem`` for one of another type.

    pytest refuses numbers where it expects text, and has no type for both before its version 9.2.
    """
    given = settings_of(config).get(option.dest)
    value = getattr(given, "value", given)
    typed = any(text.partition("=")[0] == option.dest for text in config.getoption("override_ini") or ())
    if typed or option.kind == "flag" or value is None or (isinstance(value, str) and option.kind != "texts"):
        return _as_pytest_reads_it(config, option)
    if option.kind == "texts":
        if isinstance(value, str) and getattr(given, "mode", "ini") == "ini":  # lines, else one value
            return config.getini(option.dest)
        return [_text(option, one) for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, list) and option.listed:
        return ",".join(_text(option, one) for one in value)
    return _text(option, value)


def _as_pytest_reads_it(config: pytest.Config, option: Option) -> Any:
    try:
        return config.getini(option.dest)
    except (pytest.UsageError, TypeError, ValueError) as error:
        raise UsageProblem(option.dest, str(error).rpartition(f"'{option.dest}' ")[2], "correct it") from error


def _text(option: Option, value: object) -> str:
    if isinstance(value, float) and option.name in ("python", "versions", "matrix"):
        what = f"{value} is a number, in which 3.10 and 3.1 are the same"
        raise UsageProblem(option.dest, what, 'write it in quotes, like "3.10"')
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageProblem(
            option.dest, f"{value!r} is neither text nor a number", f"write it like {option.flag} takes it"
        )
    return str(value)
