"""What ``spip_env`` is: one combination's environment in the hands of a test function."""

from __future__ import annotations

import ast
import dataclasses
import functools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from pytest_spip.common.conditions import Condition
from pytest_spip.errors import CallFailed, ProgramFailed, UsageProblem
from pytest_spip.model import Combo, Environment, Interpreter, Limits, Phase
from pytest_spip.run import calls
from pytest_spip.run.check_runners import ENV, found_program
from pytest_spip.run.reasons import ended_badly
from pytest_spip.run.text import harmless
from pytest_spip.session.open_environment import OpenEnvironment

__all__ = ["Compare", "Ran", "SpipEnvironment"]

TAIL = 30
"""Lines of each stream that a failure shows."""
Compare = Callable[[str, object, object], Sequence[str]]
"""Returns the lines that explain a comparison that failed, the expression on the first line; nothing where nobody knows better."""
Extended = Callable[[Sequence[str]], Environment]
"""Returns the environment with what requirements need besides."""
"""Returns the wheels that requirements need beside what is there."""
Timed = Callable[[], AbstractContextManager[float]]
"""Tells, while a program runs, how many seconds the test has left."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: ``status`` is negative for a signal, the streams are complete, ``seconds`` are by the clock."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


class SpipEnvironment:
    """The environment of one combination for the duration of one test.

    What a program, or a function, writes there the next one finds; whatever it left running is killed when it ends. The test
    itself sees none of the environment's files: it asks programs for them.
    """

    def __init__(
        self,
        combo: Combo,
        interpreter: Interpreter,
        opened: OpenEnvironment,
        extended: Extended,
        compare: Compare,
        timed: Timed,
        timeout: float = 0.0,
    ) -> None:
        self._combo = combo
        self._interpreter = interpreter
        self._opened = opened
        self._extended = extended
        self._compare = compare
        self._timed = timed
        limits = opened.limits
        self._limits = dataclasses.replace(limits, timeout=timeout) if timeout else limits

    def __repr__(self) -> str:
        return f"<environment of {self._combo.id}>"

    @property
    def combo(self) -> Combo:
        """The combination: its ``package``, ``version``, ``label`` ..."""
        return self._combo

    @property
    def path(self) -> Path:
        """The environment's prefix, as programs inside see it."""
        return Path(self._opened.composed.prefix)

    @property
    def python_version(self) -> str:
        """Major and minor version, as the marker of that name has it: ``3.12``."""
        return self._interpreter.python

    @property
    def locked(self) -> dict[str, str]:
        """The version of each project that is installed, by name."""
        return self._opened.environment.locked

    def matches(self, condition: str) -> bool:
        """Return True if ``colorama<0.3 ; python_version >= "3.12"`` holds for the combination. Raises ``UsageProblem``."""
        _check_texts("matches", "a condition", (condition,), "matches('colorama<0.3')")
        return Condition.parse("spip_env.matches", condition).holds(self._combo, self._interpreter)

    def run(
        self, *argv: str | os.PathLike[str], check: bool = True, stdin: str = "", timeout: float | None = None
    ) -> Ran:
        """Run a program, found on the environment's PATH, in its working directory, and return how it ended.

        ``timeout`` are seconds. Raises ``ProgramFailed`` for an exit status other than 0, unless ``check`` is false, and for a
        program that had to be killed.
        """
        __tracebackhide__ = True
        if not argv:
            raise UsageProblem("spip_env.run", "no program is named", "write it like run('python', '--version')")
        _check_arguments("run", argv, stdin, timeout)
        words = tuple(os.fspath(word) for word in argv)
        program = found_program(self._opened.composed.prefix, words[0])
        return self._ran(words, (ENV, program), check=check, stdin=stdin, timeout=timeout)

    def python(self, code: str, *argv: str, check: bool = True, stdin: str = "", timeout: float | None = None) -> Ran:
        """Run code in a new interpreter, as ``python -c`` does; it may be indented. All else is as with :meth:`run`."""
        __tracebackhide__ = True
        _check_texts("python", "code as a text", (code,), "python('print(1)')")
        _check_arguments("python", argv, stdin, timeout)
        if _OPTION_WORD.fullmatch(code):
            what = f"python() takes code, and {code!r} is an option of python's"
            raise UsageProblem("spip_env.python", what, f"write python('print(1)'), or run('python', {code!r}, ...)")
        source = textwrap.dedent(code)
        words = (self._opened.composed.python, "-c", source, *map(os.fspath, argv))
        return self._ran(words, words[:1], check=check, stdin=stdin, timeout=timeout, source=source)

    def _ran(
        self,
        argv: tuple[str, ...],
        before: tuple[str, ...],
        *,
        check: bool,
        stdin: str,
        timeout: float | None,
        source: str = "",
    ) -> Ran:
        __tracebackhide__ = True
        with self._timed() as left:
            limits = self._within(timeout, left)
            ended = self._opened.run((*before, *argv[1:]), limits, stdin=stdin, apart=True)
        stderr = ended.result.decode("utf-8", "replace")
        ran = Ran(argv, ended.status, ended.output, stderr, ended.seconds)
        killed = ended_badly(ended, limits, Phase.TEST) if ended.cut else None
        if killed or (check and ran.status):
            raise ProgramFailed(_failure_message(ran, self._combo, killed.detail if killed else "", source))
        return ran

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a new interpreter of the environment, and return what it returns.

        Its source goes there alone: it imports inside itself what it needs, and uses nothing of its module. Arguments and result
        are plain data: None, bool, numbers, text, bytes, and lists, tuples, sets and dicts of them.

        An assertion that fails raises ``AssertionError`` here, at its own line and with its values; any other exception
        ``CallFailed``. What the function prints is printed here. Raises ``UsageProblem`` for a function that cannot be sent.
        """
        __tracebackhide__ = True
        question = calls.Question.of(function, args, kwargs)
        program = calls.program(self._opened.composed)
        with self._timed() as left:
            limits = self._within(None, left)
            ended = self._opened.run(program, limits, stdin=question.to_json())
        sys.stdout.write(ended.output)
        answer = calls.answer(ended, question, limits)
        if isinstance(answer, calls.Failure):
            self._fail(answer, question)
        return answer

    def install(self, *requirements: str) -> None:
        """Add what requirements need, resolved as the run's own are; what is installed already keeps its version.

        Raises ``InstallFailed`` where that cannot be, and ``UsageProblem`` for what is no requirement.
        """
        __tracebackhide__ = True
        _check_texts("install", "requirements, each as a text", requirements, "install('pygments>=2', 'docutils')")
        if requirements and (environment := self._extended(requirements)) != self._opened.environment:
            self._opened.extend(environment)

    def _within(self, timeout: float | None, left: float) -> Limits:
        timeout = self._limits.timeout if timeout is None else timeout
        return dataclasses.replace(self._limits, timeout=min(timeout, left))

    def _fail(self, failure: calls.Failure, question: calls.Question) -> NoReturn:
        __tracebackhide__ = True
        own = [frame for frame in failure.frames if frame.file == question.file]
        inner = failure.frames[len(own) :] if list(failure.frames[: len(own)]) == own else failure.frames
        message = "\n".join([self._message(failure), *_lines(inner, failure.causes)])
        if failure.kind == "AssertionError":
            _raise_at(own, question, AssertionError(message))
        _raise_at(own, question, CallFailed(message, failure.kind))

    def _message(self, failure: calls.Failure) -> str:
        if failure.compared:
            explanation = self._compare(*failure.compared)
            if explanation:
                lines = "\n  ".join(explanation)
                return f"{failure.before}assert {lines}{failure.behind}"
        if failure.kind == "AssertionError" or not failure.kind:
            return failure.message
        return f"{failure.kind}: {failure.message}" if failure.message else failure.kind


def _check_arguments(method: str, argv: Sequence[object], stdin: object = "", timeout: object = None) -> None:
    """Raise ``TypeError`` for what is no argument of a program, and ``UsageProblem`` for a limit that is none."""
    __tracebackhide__ = True
    example = f"{method}({'program' if method == 'run' else 'code'!r}, '--level', '5', timeout=10)"
    for word in argv:
        if not isinstance(word, str) and not (isinstance(word, os.PathLike) and isinstance(os.fspath(word), str)):
            what = f"spip_env.{method} takes texts and paths, one for each argument, and not {word!r}"
            raise TypeError(f"{what}; write it like {example}")
        if "\0" in os.fspath(word):
            raise UsageProblem(f"spip_env.{method}", f"{word!r} has a null character", "no program takes one")
    _check_texts(method, "stdin as a text", (stdin,), example)
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
        raise TypeError(f"spip_env.{method} takes timeout as a number of seconds, and not {timeout!r}")
    if isinstance(timeout, int | float) and not 0 < timeout < 1e6:
        fix = "give a positive number of seconds"
        raise UsageProblem(f"spip_env.{method}", f"timeout={timeout!r} is no time limit", fix)


def _check_texts(method: str, takes: str, given: Sequence[object], example: str) -> None:
    __tracebackhide__ = True
    for text in given:
        if not isinstance(text, str):
            raise TypeError(f"spip_env.{method} takes {takes}, and not {text!r}; write it like {example}")


_OPTION_WORD = re.compile(r"--?[A-Za-z][\w-]*")
_FRAME = re.compile(r'^  File "<string>", line (\d+), in .*$(?!\n    )', re.MULTILINE)
"""A frame of code without a file, and without its line."""


def _failure_message(ran: Ran, combo: Combo, killed: str, source: str) -> str:
    """Return what a person must know of a program that failed; ``source`` is its code where it has no file."""
    command = " ".join(word if "\n" not in word else "..." for word in ran.argv)
    ended = killed or (f"exit status {ran.status}" if ran.status >= 0 else f"killed by signal {-ran.status}")
    lines = [f"{ended}: {command}  (in {combo.id})"]
    for name, text in (("stdout", ran.stdout), ("stderr", _with_lines(ran.stderr, source))):
        kept = harmless(text).rstrip().splitlines()
        lines += [f"{name}:", *(f"  {line}" for line in kept[-TAIL:])] if kept else []
    return "\n".join(lines)


def _with_lines(trace: str, source: str) -> str:
    """Return a traceback with the lines of code that it names, which interpreters before 3.13 leave out without a file."""
    if not source:
        return trace
    lines = source.splitlines()
    return _FRAME.sub(
        lambda found: f"{found[0]}\n    {''.join(lines[int(found[1]) - 1 : int(found[1])]).strip()}", trace
    )


def _lines(frames: Sequence[calls.Frame], causes: Sequence[str]) -> list[str]:
    """Return where package code was, and what the exception came of."""
    lines = []
    for frame in frames:
        lines += [f'  File "{harmless(frame.file)}", line {frame.line}, in {frame.name}']
        lines += [f"    {frame.text}"] if frame.text else []
    return [*lines, *(f"which came of {cause}" for cause in causes)]


def _raise_at(frames: Sequence[calls.Frame], question: calls.Question, error: Exception) -> NoReturn:
    """Raise an error as if it came out of the function: its traceback leads through the function's lines, which pytest shows."""
    __tracebackhide__ = True
    step, word = None, "raise error"
    for frame in reversed(frames):
        first = question.line if frame.name == question.name else frame.line
        code = _code(word, frame, first)
        step, word = functools.partial(exec, code, {"error": error, "step": step}), "step()"
    if step:
        step()
    raise error


def _code(word: str, frame: calls.Frame, first: int) -> CodeType:
    """Return code for a statement that claims to stand in a frame's line of a function that begins in the line ``first``."""
    # A code's lines are counted from its first one, and move with it.
    tree = ast.parse("\n" * max(frame.line - first, 0) + word)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr):
            node.col_offset = (
                node.end_col_offset
            ) = -1  # that is, unknown: pytest underlines what stands in known columns
    code = compile(tree, frame.file, "exec")
    return code.replace(co_name=frame.name, co_qualname=frame.name, co_firstlineno=first)
