"""The types of the messages between a worker and its fork server. The server imports it for type checkers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

__all__ = [
    "LayMessage",
    "OrderMessage",
    "QuestionMessage",
    "ReplyMessage",
    "RequestMessage",
    "SetupMessage",
    "StayMessage",
    "ZygoteMessage",
]


class SetupMessage(TypedDict):
    """What a fork server is set up with, see child/sandbox.py."""

    level: int
    view: str
    prefix: str
    layers: str
    own: str
    read: list[str]
    write: list[str]
    devices: list[str]
    network: bool
    size: int
    processes: int
    closures: str
    sandbox_uid: int


class LayMessage(TypedDict):
    """What an environment is laid from, the uppermost layer first; ``scripts`` are pairs of path and text."""

    layers: Sequence[str]
    trees: Sequence[str]
    scripts: Sequence[tuple[str, str]]
    cwd: str


class StayMessage(LayMessage):
    """An environment that stays; one that is not ``fresh`` is added to the one that is there."""

    fresh: bool


class ZygoteMessage(TypedDict):
    """A zygote that may be forked for a request."""

    key: str
    layers: Sequence[str]
    trees: Sequence[str]
    command: Sequence[str]
    environment: dict[str, str]


class RequestMessage(LayMessage):
    """What a child is to do, see child/forkserver.py. Sizes are in bytes, times in seconds."""

    site: str
    modules: Sequence[str]
    trace: Sequence[str]
    sources: Sequence[str]
    rewrites: bool
    command: Sequence[str]
    zygotes: Sequence[ZygoteMessage]
    forked: bool
    streams: bool
    apart: bool
    stdin: str
    stays: bool
    environment: dict[str, str]
    memory: int
    file_size: int
    output: int
    head: int
    timeout: float
    inactivity: float
    begins: NotRequired[bool]
    """Set by the server itself, for a zygote."""
    attached: NotRequired[Sequence[int]]
    """Set by the server itself: the descriptors that came with the request."""


class ReplyMessage(TypedDict):
    """How a child ended; ``status`` is as subprocess has it."""

    status: int
    cut: str
    evidence: str
    seconds: float
    cpu_seconds: float
    error: str
    proven: bool
    warm: bool


class QuestionMessage(TypedDict):
    """A function to call, and its packed arguments, see child/call.py."""

    name: str
    file: str
    line: int
    source: str
    args: Any
    kwargs: Any


class OrderMessage(TypedDict):
    """What a fork server asks of a zygote, see child/zygote.py."""

    command: Sequence[str]
    environment: dict[str, str]
    cwd: str
    site: str
