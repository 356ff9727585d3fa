"""Every wait in the package for a process, a lock, a pipe or a socket has a deadline: read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest_spip

ROOT = Path(pytest_spip.__file__).parent
BOUNDED_BY_CALL = {"wait", "wait_for", "join", "result", "communicate", "acquire", "get", "poll"}
"""Methods that wait for ever unless they are given a time."""
PROGRAMS = {"run", "call", "check_call", "check_output"}
"""Functions of ``subprocess`` that wait for a program."""
ENDLESS = {"waitpid", "wait4", "waitid", "recv", "recvmsg", "accept", "recv_into", "flock", "lockf"}
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


def test_list() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        for line, text in waits(ast.parse(path.read_text("utf-8"))):
            print(f"{path.relative_to(ROOT)}:{line}: {text}")
