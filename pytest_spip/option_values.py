"""What the values of options mean: each function takes the option's flag and what was given, and raises ``UsageProblem``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pytest_spip.errors import UsageProblem

__all__ = [
    "AUTO",
    "CONSTRAINT",
    "GPU",
    "SLOT_NAME",
    "bound",
    "extra_requirements",
    "instant",
    "name",
    "names",
    "one_of",
    "reports",
    "seconds",
    "shard",
    "size",
    "slots",
    "split",
    "stats",
    "ways",
    "words",
]

SLOT_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a slot may be called: its name becomes that of a variable, in capitals."""
GPU, AUTO = "gpu", "auto"
"""The slot whose devices CUDA knows by the same names, and what stands for those that the machine has."""
CONSTRAINT = "-c "
"""Begins a further requirement that only limits what others require, as in a file of constraints."""


def seconds(flag: str, text: object) -> float:
    """Return a time limit in seconds."""
    try:
        number = float(str(text))
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageProblem(flag, f"{text!r} is no time limit", "give a positive number of seconds")
    return number


def size(flag: str, text: object) -> int:
    """Return a size in bytes; K, M, G and T are powers of 1024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", str(text).strip(), re.IGNORECASE | re.ASCII)
    count = float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ") if found else 0
    if not 16 << 20 <= count < 1 << 60:  # what setrlimit(2) takes, with room to spare
        raise UsageProblem(flag, f"{text!r} is no usable size", "write it like 512MiB or 2GiB, at least 16MiB")
    return int(count)


def bound(flag: str, text: object) -> int:
    """Return a size in bytes; 0 is none."""
    return 0 if str(text).strip().lower() in ("0", "unlimited") else size(flag, text)


def shard(flag: str, text: object) -> tuple[int, int]:
    """Return the number of a part, from 1, and how many there are."""
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", str(text).strip(), re.ASCII)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageProblem(flag, f"{text!r} is no part", "write it like 1/3, from 1/3 to 3/3")
    return number, count


def name(flag: str, text: object) -> str:
    """Return a run's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(text)):
        raise UsageProblem(flag, f"{text!r} is no name for a run", "use letters, digits, '.', '_' and '-'")
    return str(text)


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """Return what admits one of these words."""

    def checked(flag: str, text: object) -> str:
        if text not in choices:
            raise UsageProblem(flag, f"invalid choice {text!r} (choose from {', '.join(choices)})")
        return str(text)

    return checked


def words(_flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return names, of which one text may hold several."""
    return tuple(name for text in texts for name in text.replace(",", " ").split())


def ways(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return how versions are resolved, each way once."""
    check = one_of("highest", "lowest-direct", "lowest")
    return tuple(dict.fromkeys(check(flag, word) for word in words(flag, texts)))


def names(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return names of variables."""
    for text in texts:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
            raise UsageProblem(
                flag, f"{text!r} is no name of a variable", "give the name alone; its value is passed on"
            )
    return tuple(texts)


def split(flag: str, text: str) -> tuple[str, ...]:
    """Return the words of a command, split as a shell does it; nothing else of a shell is there."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageProblem(flag, f"{text!r} cannot be split ({error})", "close the quotes") from error


def instant(flag: str, text: object) -> str:
    """Return an instant in UTC; a date alone includes that day."""
    from pytest_spip.common.instants import parse_instant  # patterns that a session without a matrix need not compile

    try:
        return parse_instant(str(text))
    except (ValueError, OverflowError):
        fix = "write it like 2026-11-01 or 2026-11-01T00:00:00Z"
        raise UsageProblem(flag, f"{text!r} is no date", fix) from None


def reports(_flag: str, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of kind and path."""
    return tuple((kind, path) for kind, _, path in (text.partition(":") for text in texts))


def extra_requirements(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return requirements that an index can serve, and constraints."""
    from packaging.requirements import InvalidRequirement, Requirement  # not where nobody asks for a matrix

    for text in texts:
        try:
            url = Requirement(text.removeprefix(CONSTRAINT)).url
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise UsageProblem(
                flag, f"{text!r} is no requirement ({reason})", "write it like 'pytest-timeout>=2'"
            ) from error
        if url:
            raise UsageProblem(flag, f"{text!r} is a URL", "name a project that an index lists")
    return tuple(texts)


def slots(flag: str, texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return pairs of a slot and its devices."""
    found = dict(_slot(flag, text) for text in texts)
    if len(found) < len(texts):
        raise UsageProblem(flag, "a slot is given twice", "name all its devices at once, like gpu:0,3")
    return tuple(found.items())


def _slot(flag: str, text: str) -> tuple[str, tuple[str, ...]]:
    slot, _, listed = text.partition(":")
    devices = _devices(listed)
    if not SLOT_NAME.fullmatch(slot) or not devices:
        fix = "write it like gpu:2 for two, gpu:0,3 for those named so, gpu:3, for one"
        raise UsageProblem(flag, f"{text!r} names no devices", fix)
    if devices == (AUTO,) and slot != GPU:
        raise UsageProblem(flag, f"{text!r}: only the devices of {GPU} are found", f"name them, like {slot}:0,1")
    return slot, devices


def _devices(listed: str) -> tuple[str, ...]:
    """Return devices by name: a number alone counts them. None where it is neither."""
    if listed.isdecimal():
        return tuple(map(str, range(int(listed)))) if len(listed) <= 3 else ()
    found = tuple(listed.removesuffix(",").split(","))
    good = len({*found}) == len(found) and all(re.fullmatch(r"[!-~]+", each) for each in found)
    return found if good else ()


def stats(flag: str, text: object) -> tuple[float, str]:
    """Return the seconds between two lines, and the path of a file or nothing."""
    number, colon, path = str(text).partition(":")
    try:
        every = float(number)
    except ValueError:
        every = 0.0
    if not 0.1 <= every < 1e6 or bool(colon) != bool(path):
        fix = "write it like 10 or 10:stats.jsonl, at least 0.1"
        raise UsageProblem(flag, f"{text!r} is no number of seconds", fix)
    return every, path
