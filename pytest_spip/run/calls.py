"""Calls of functions inside an environment: their source goes in, plain data or the failure comes back. See child/call.py."""

from __future__ import annotations

import dataclasses
import dis
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, NoReturn

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Composed, Limits, Phase
from pytest_spip.run.process import Ended
from pytest_spip.run.reasons import ended_badly
from pytest_spip.run.server import CHILD, NONCE, RESULT
from pytest_spip.run.text import harmless

__all__ = ["Failure", "Frame", "Question", "answer", "pack", "program", "unpack"]

CALL = str(CHILD / "call.py")
OPTION = "spip_env.call"
SEQUENCES: Mapping[str, Callable[[Iterator[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_DEEPEST = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """Where a call was: a file, a line counted from 1, a function's name, and the line's text."""

    file: str
    line: int
    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a call brought nothing back.

    ``kind`` is the exception's type as tracebacks name it, empty where none was raised; ``frames`` begin in the function.
    ``compared`` are an assertion's operator and its two values, ``before`` and ``behind`` what its message says around them.
    """

    kind: str
    message: str
    causes: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    compared: tuple[str, Any, Any] | None = None
    before: str = ""
    behind: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What is to be called: the function's name and source, where that stands, and the arguments, packed."""

    name: str
    file: str
    line: int
    source: str
    args: Any
    kwargs: Any

    @classmethod
    def of(cls, function: object, args: Sequence[object], kwargs: Mapping[str, object]) -> Question:
        """Return the question for a function; raises ``UsageProblem`` for one that cannot be called elsewhere."""
        if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
            _refuse(f"{function!r} is no function of its own", "write it with def")
        name, code = function.__name__, function.__code__
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
            _refuse(f"{name}() returns no data", "have it run to its end and return")
        if code.co_freevars:
            _refuse(f"{name}() uses {code.co_freevars[0]!r} of the function around it", "pass it as an argument")
        outside = sorted(_globals(code) & function.__globals__.keys() - {name})
        if outside:
            _refuse(f"{name}() uses {outside[0]!r} of its module", "import or define it inside, or pass it")
        try:
            lines, line = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise UsageProblem(OPTION, f"{name}() has no source ({error})", "write it in a file") from error
        packed = [pack(list(args), "an argument"), pack(dict(kwargs), "an argument")]
        return cls(name, inspect.getsourcefile(function) or "", line, textwrap.dedent("".join(lines)), *packed)

    def to_json(self) -> str:
        """Return what child/call.py reads."""
        return json.dumps(dataclasses.asdict(self))


def _refuse(what: str, fix: str) -> NoReturn:
    raise UsageProblem(OPTION, what, fix)


def _globals(code: CodeType) -> set[str]:
    """Return the global names that a code and those within it read. pytest's own, in rewritten assertions, begin with @."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_globals(one) for one in code.co_consts if isinstance(one, CodeType)]
    return {name for name in names.union(*inner) if not name.startswith("@")}


def program(composed: Composed) -> tuple[str, ...]:
    """Return the program that answers a question on its stdin."""
    return (composed.python, "-I", "-u", CALL, RESULT, NONCE)


def answer(ended: Ended, question: Question, limits: Limits) -> Any:
    """Return what the function returned, or a :class:`Failure`. What comes back is untrusted data, and checked."""
    place = (Frame(question.file, question.line, question.name, ""),)
    if bad := ended_badly(ended, limits, Phase.TEST):
        return Failure("", f"{question.name}() was ended: {bad.detail}", frames=place)
    try:
        reply = json.loads(ended.result)
        if "value" in reply:
            return unpack(reply["value"])
        if "unfit" in reply:
            return Failure("", f"{question.name}() {harmless(str(reply['unfit']))}; plain data is needed", frames=place)
        return _failure(reply)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        what = f"{question.name}() ended without an answer, with exit status {ended.status}"
        return Failure("", what, frames=place)


def _failure(reply: Mapping[str, Any]) -> Failure:
    compared, before, behind = None, "", ""
    if reply["compared"] is not None:
        operator, left, right, before, behind = reply["compared"]
        compared = _text(operator), unpack(left), unpack(right)
    return Failure(
        kind=_text(reply["raised"]),
        message=_text(reply["message"]),
        causes=tuple(map(_text, reply["notes"])),
        frames=tuple(
            Frame(str(file), int(line), _text(name), _text(text)) for file, line, name, text in reply["frames"]
        ),
        compared=compared,
        before=_text(before),
        behind=_text(behind),
    )


def _text(value: object) -> str:
    return harmless(str(value))


# -- plain data, as child/call.py has it -------------------------------------------------------------------------------------


def pack(value: object, what: str, depth: int = 0) -> Any:
    """Return plain data as JSON holds it; raises ``UsageProblem`` for what is none. ``what`` says what the data is."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind.__name__ in SEQUENCES and kind is SEQUENCES[kind.__name__] and depth < _DEEPEST:
        return {kind.__name__: [pack(one, what, depth + 1) for one in value]}  # type: ignore[attr-defined]  # it is iterable
    if isinstance(value, dict) and kind is dict and depth < _DEEPEST:
        pairs = value.items()
        return {"dict": [[pack(key, what, depth + 1), pack(one, what, depth + 1)] for key, one in pairs]}
    if isinstance(value, bytes) and kind is bytes:
        return {"bytes": value.decode("latin-1")}
    _refuse(f"{what} is or holds a {kind.__qualname__} object", "pass text, numbers, and containers of them")


def unpack(plain: Any) -> Any:
    """Return what was packed; raises ``ValueError``, ``TypeError``, ``KeyError`` or ``AttributeError`` for anything else."""
    if isinstance(plain, list):
        raise TypeError("a list that says not what it is")
    if not isinstance(plain, dict):
        return plain
    ((kind, held),) = plain.items()
    if kind == "bytes":
        return held.encode("latin-1")
    if kind == "dict":
        return {unpack(key): unpack(value) for key, value in held}
    return SEQUENCES[kind](unpack(one) for one in held)
