"""Every wait in the package for a process, a lock, a pipe or a socket has a deadline: read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_spip

ROOT = Path(pytest_spip.__file__).parent
BOUNDED_BY_CALL = {"wait", "wait_for", "join", "result", "communicate", "acquire", "get", "poll"}
"""Methods that wait for ever unless they are given a time."""
PROGRAMS = {"run", "call", "check_call", "check_output"}
"""Functions of ``subprocess`` that wait for a program."""
ENDLESS = {"waitpid", "wait4", "waitid", "recv", "recvmsg", "accept", "recv_into", "lockf"}
"""Calls that take no time limit: somebody else has to have one."""


def waits(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each call that may wait for ever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_endless(node, node.func):
            yield node.lineno, ast.unparse(node)[:80]


def _is_endless(call: ast.Call, function: ast.Attribute) -> bool:
    named = {keyword.arg for keyword in call.keywords}
    of = ast.unparse(function.value)
    if of == "subprocess" and function.attr in PROGRAMS:
        return "timeout" not in named
    if function.attr in ("waitpid", "waitid"):
        return "WNOHANG" not in ast.unparse(call)
    if function.attr == "flock":
        return "LOCK_NB" not in ast.unparse(call)
    if function.attr in ENDLESS:
        return True
    if of == "select" and function.attr == "select":
        return len(call.args) < 4
    if of == "os" and function.attr == "read":
        return True
    if function.attr not in BOUNDED_BY_CALL or "timeout" in named or "blocking" in named:
        return False
    positional = {"wait_for": 1, "acquire": 1, "communicate": 1}.get(function.attr, 0)
    return len(call.args) <= positional and (function.attr != "acquire" or not call.args)


READY = "read when poll or select said that it is ready, or left empty by a process that has ended"
SERVED = (
    "the worker has a deadline for each answer of its fork server, kills the server then, and all below it dies with it"
)
ALLOWED = {
    "common/waits.py": {"wait4": "asks without waiting, in a loop with a deadline"},
    "hooks/run_matrix.py": {"wait_for": "our own, with a deadline: Run.wait_for"},
    "hooks/shared_worker.py": {
        "get": "idle until the controller speaks; when it is gone execnet says so, as to xdist's loop"
    },
    "session/worker_loop.py": {
        "wait_for": "idle until the controller speaks; when it is gone execnet says so, and the worker ends"
    },
    "session/worker_zygote.py": {
        "recv": "the controller's socket has a timeout; a zygote is idle until the controller speaks, and dies with it"
    },
    "hosts/server.py": {"poll": "asks whether the server has ended, and does not wait"},
    "session/sandbox_choice.py": {"result": "fork servers and what they run have deadlines"},
    "run/process.py": {"poll": "makes a poller; its own poll has a deadline", "read": READY},
    "run/program.py": {"read": READY},
    "run/server.py": {
        "recv": "the socket has the timeout that _receive sets",
        "poll": "of a process, which does not wait",
    },
    "run/alone.py": {"run": "a person ends what the person started"},
    "run/streams.py": {
        "poll": "makes a poller, and waits for a person, or for the program to end; its fork server says so",
        "read": READY,
    },
    "run/child/alone.py": {"read": "does not block"},
    "run/child/bytecode.py": {"read": "what was written before the child was born"},
    "run/child/call.py": {"read": "what was written before the child was born"},
    "run/child/check_import.py": {"read": "what was written before the child was born, or a file of /proc"},
    "run/child/check_suite.py": {"read": "what was written before the child was born"},
    "run/child/closures.py": {
        "waitpid": "a child that imports one module; ClosureFinder has a deadline for all of them"
    },
    "run/child/process_tree.py": {"waitpid": SERVED},
    "run/child/kernel.py": {"poll": "makes a poller; its own poll has a deadline"},
    "run/child/sandbox.py": {
        "read": "its other end is the server's alone, which closes it whatever happens",
        "waitpid": "lives as long as the server inside; the kernel kills both with the worker",
    },
    "run/child/serving.py": {
        "acquire": "a lock made free before, or one that the server gives back when its child has ended",
        "recv": "idle until the worker speaks; when it is gone the socket ends",
        "recvmsg": "idle until the worker speaks; when it is gone the socket ends",
    },
    "run/child/zygote.py": {"recvmsg": SERVED, "read": SERVED, "waitpid": "a child that has forked and left already"},
    "run/child/zygotes.py": {"recv": "the socket has a timeout", "waitpid": SERVED},
    "run/child/supervise.py": {"poll": "makes a poller; its own poll has a deadline", "read": READY, "wait4": SERVED},
}
"""Calls without a time limit of their own, by file and method, and who has one."""


def test_every_wait_has_a_deadline() -> None:
    """A call that may wait for ever has a time limit, or stands in the list with the reason why it needs none."""
    found: dict[str, set[str]] = {}
    endless = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for line, text in waits(ast.parse(path.read_text("utf-8"))):
            method = text.partition("(")[0].rpartition(".")[2]
            found.setdefault(name, set()).add(method)
            if method not in ALLOWED.get(name, {}):
                endless.append(f"{name}:{line}: {text}")
    assert endless == []
    assert {name: set(methods) for name, methods in ALLOWED.items()} == found, "what is listed and gone"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("thread.join()", 1),
        ("thread.join(5)", 0),
        ("', '.join(words)", 0),
        ("process.wait()", 1),
        ("process.wait(5)", 0),
        ("process.communicate(b'x')", 1),
        ("process.communicate(timeout=5)", 0),
        ("changed.wait_for(ready)", 1),
        ("changed.wait_for(ready, 5)", 0),
        ("lock.acquire()", 1),
        ("lock.acquire(timeout=5)", 0),
        ("lock.acquire(blocking=False)", 0),
        ("subprocess.run(['x'])", 1),
        ("subprocess.run(['x'], timeout=5)", 0),
        ("os.waitpid(1, 0)", 1),
        ("os.waitpid(1, os.WNOHANG)", 0),
        ("select.select([1], [], [])", 1),
        ("select.select([1], [], [], 5)", 0),
        ("mapping.get('x')", 0),
        ("queue.get()", 1),
        ("future.result()", 1),
    ],
)
def test_what_counts_as_a_wait(code: str, count: int) -> None:
    """The reader of the code tells calls that may wait for ever from those that have a limit."""
    assert len(list(waits(ast.parse(code)))) == count
