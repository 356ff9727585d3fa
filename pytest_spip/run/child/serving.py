"""The fork server's work: requests come in, children are forked, seen to their end, and learned from.

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7.
"""

import _signal  # type: ignore[import-not-found]  # as child_main.py does
import _socket  # without the classes in Python around it, whose imports cost more than all of ours
import _thread
import functools
import gc
import os
import struct
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType
    from typing import Any

    from pytest_spip.run.child import check_import as CHECK_IMPORT
    from pytest_spip.run.child import child_main as CHILD_MAIN
    from pytest_spip.run.child import hidden_modules as HIDDEN_MODULES
    from pytest_spip.run.child import jsontext as JSONTEXT
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import sandbox as SANDBOX
    from pytest_spip.run.child import supervise as SUPERVISE
    from pytest_spip.run.child import zygotes as ZYGOTES
    from pytest_spip.run.protocol import RequestMessage, StayMessage


STREAMS = struct.Struct("3i")
"""Descriptors that may come with a request: standard input, output and error of its program."""


class Channel:
    """The socket to the worker."""

    def __init__(self, descriptor: int) -> None:
        self.socket = _socket.socket(fileno=descriptor)
        self.attached: "tuple[int, ...]" = ()

    def receive(self) -> "Any":
        """Return a message's JSON; None when the worker is gone. Descriptors that came with it are ``attached``."""
        head = self.read_first()
        if not head:
            return None
        (count,) = struct.unpack("!I", head)
        sizes = struct.unpack("!%dI" % count, self.read(4 * count))
        parts = [self.read(size) for size in sizes]
        return JSONTEXT.loads(parts[0].decode())

    def read_first(self) -> bytes:
        """Return the first bytes of a message, or none when the worker is gone; with them come descriptors (unix(7))."""
        data, more, _, _ = self.socket.recvmsg(4, _socket.CMSG_SPACE(STREAMS.size))
        for _, _, packed in more:
            self.attached = STREAMS.unpack(packed)
            for descriptor in self.attached:
                os.set_inheritable(descriptor, False)
        return data + self.read(4 - len(data)) if data else b""

    def release(self) -> None:
        """Close the descriptors that came: they are the child's now."""
        for descriptor in self.attached:
            os.close(descriptor)
        self.attached = ()

    def read(self, size: int) -> bytes:
        """Return so many bytes, or none when the worker is gone."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data

    def send(self, plain: object, *parts: bytes) -> None:
        """Send a message."""
        all_parts = (JSONTEXT.dumps(plain).encode(), *parts)
        sizes = struct.pack("!%dI" % (len(all_parts) + 1), len(all_parts), *map(len, all_parts))
        self.socket.sendall(sizes + b"".join(all_parts))


def fork(calls: "Sequence[KERNEL.Call]", request: "RequestMessage", child: "SUPERVISE.Child") -> int:
    """Return the pid of a child of our own."""
    pid = os.fork()
    if pid == 0:
        try:
            CHILD_MAIN.be_child(calls, request, child.theirs)
        finally:
            os._exit(70)  # whatever went wrong, the child must not become a second server
    return pid


FORKING = 60
"""Seconds after which a thread that was to fork is given up."""
ALONE = 3
"""Links of the directory of threads of who has but one: each has a directory there."""


class WarmFork:
    """A child forked of a thread that has no frame but the statements to run: what is below them in the server is out of sight.

    In the child that thread is the main one. In the server it waits, for its end would be taken for the parent's (prctl(2),
    PR_SET_PDEATHSIG).
    """

    pretended: "Sequence[str] | None" = None
    """The modules that the command imports which Python tells of."""

    def __init__(
        self,
        calls: "Sequence[KERNEL.Call]",
        hidden_modules: "HIDDEN_MODULES.HiddenModules",
        request: "RequestMessage",
        child: "SUPERVISE.Child",
    ) -> None:
        self.given = calls, hidden_modules, request, child
        self.forked, self.over = _thread.allocate_lock(), _thread.allocate_lock()
        self.pid = 0
        self.main = CHILD_MAIN.bare_main()

    def start(self) -> int:
        """Return the child's pid; raises ``OSError`` where there can be none."""
        self.forked.acquire()
        self.over.acquire()
        modules = self.given[2]["modules"]
        if modules != WarmFork.pretended:
            CHECK_IMPORT.pretend(modules)
            WarmFork.pretended = modules
        vars(self.main)["begin"] = self.fork
        _thread.start_new_thread(exec, (statements(*modules), vars(self.main)))
        if not self.forked.acquire(timeout=FORKING):
            raise OSError("no child was forked in %d s" % FORKING)
        if not self.pid:
            self.end()
            raise OSError("no child could be forked")
        return self.pid

    def fork(self) -> "CHECK_IMPORT.Check":
        """Fork; in the child return what surrounds the imports, in the server end the thread when the child has ended."""
        try:
            self.pid = os.fork()
        except OSError:
            self.pid = 0
            self.forked.release()
            raise SystemExit from None
        if self.pid:
            self.forked.release()
            self.over.acquire()
            raise SystemExit
        try:
            del vars(self.main)["begin"]
            calls, hidden_modules, request, child = self.given
            CHILD_MAIN.be_child(calls, request, child.theirs)
            return CHILD_MAIN.warm_check(hidden_modules, request, child.theirs[0], child.theirs[3], self.main)
        except BaseException:
            os._exit(70)

    def end(self) -> None:
        """End the thread: who has several cannot enter namespaces."""
        self.over.release()
        while os.stat("/proc/self/task").st_nlink > ALONE:
            os.sched_yield()


@functools.lru_cache(maxsize=16)
def statements(*modules: str) -> "CodeType":
    """Return the code of a warm child's check; releases of a package have the same modules as a rule."""
    text = "with begin():\n" + "".join(" import %s\n" % name for name in modules) + ("" if modules else " pass\n")
    return compile(text, "<string>", "exec")


def serve(
    channel: Channel,
    sandbox: "SANDBOX.Sandbox",
    hidden_modules: "HIDDEN_MODULES.HiddenModules",
    zygotes: "ZYGOTES.Zygotes | None",
    request: "RequestMessage",
) -> None:
    """Have a child for a request, see it to its end, answer, and learn from it."""
    if not request["stays"]:
        sandbox.environment.leave()
    child = SUPERVISE.Child(request, channel.socket, zygotes)
    if channel.attached:
        request["attached"] = channel.attached
    result, output, _, nonce = child.theirs
    pid, warm = zygotes.fork_child(request, (result, output, nonce)) if zygotes else (0, False)
    forked = None
    if not pid and request["forked"]:
        pid = fork([(os._exit, (os.EX_TEMPFAIL,), "")], request, child)
    elif not pid:
        calls = [(channel.socket.close, (), ""), *child.leaving(), *CHILD_MAIN.becoming(sandbox, request, child.theirs)]
        if not request["command"] and not request["sources"]:
            forked, warm = WarmFork(calls, hidden_modules, request, child), True
        pid = forked.start() if forked else fork(calls, request, child)
    channel.release()
    child.watch(pid)
    status, cpu, seconds = child.end(pid)
    child.close()
    if forked:
        forked.end()
    if child.cut == "worker gone":
        raise SystemExit
    reply = {"status": status, "cut": child.cut, "evidence": child.evidence, "seconds": seconds, "cpu_seconds": cpu}
    reply["warm"] = warm
    reply["error"] = child.texts[child.fault].decode("utf-8", "replace")
    result, reply["proven"] = child.proven_result()
    channel.send(reply, result, child.kept_output())
    learn(hidden_modules, result)


def learn(hidden_modules: "HIDDEN_MODULES.HiddenModules", result: bytes) -> None:
    """Import for later children what this one had to import by itself; it may say what it likes, and get no more than that."""
    kind, *fields = result.split(b"\0")
    if kind == b"warm" and len(fields) == 4 and fields[2]:
        hidden_modules.learn(fields[2].decode("ascii", "replace").split("\n"))
        gc.collect()
        freeze()


def freeze() -> None:
    """Keep collections in children from looking at all that is here, and having it copied; PyPy has no such thing."""
    getattr(gc, "freeze", int)()


def settle(channel: Channel, sandbox: "SANDBOX.Sandbox", wanted: "StayMessage | None") -> None:
    """Compose the environment that stays, or leave it where none is wanted."""
    try:
        if wanted:
            sandbox.environment.stay(wanted)
        else:
            sandbox.environment.leave()
    except OSError as error:
        channel.send({"error": str(error) or "unknown"})
    else:
        channel.send({"error": ""})


SMALL = 1 << 20
"""Bytes of a program that are looked at: one that has its library beside it is small."""


def own_places() -> "list[str]":
    """Return the directories that this interpreter lives in, by the names it knows and by their real ones."""
    program = os.path.dirname(os.path.realpath(sys.executable))
    places = [sys.base_prefix, sys.base_exec_prefix, program]
    found = [place for known in places for place in (known, os.path.realpath(known)) if place != "/"]
    return found + linked_places(os.path.realpath(sys.executable))


def linked_places(program: str) -> "list[str]":
    """Return the links by which a program names directories of libraries, as a moved installation does in its RUNPATH."""
    links: "list[str]" = []
    with open(program, "rb") as stream:
        texts = stream.read(SMALL).split(b"\0")
    for text in texts:
        for path in text.split(b":"):
            if path.startswith(b"/") and os.path.isdir(path) and os.path.realpath(path) != path:
                links += links_above(os.fsdecode(path))
    return links


def links_above(path: str) -> "list[str]":
    """Return the links among a path and the directories above it, and where they lead."""
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]
    links = [one for one in above if os.path.islink(one)]
    return links[:1] + [os.path.realpath(one) for one in links[:1]]


def can_fork(closures: "dict[str, list[str]]") -> bool:
    """Tell whether this interpreter can be copied as it is: CPython, one thread, and known closures."""
    return bool(closures) and sys.implementation.name == "cpython" and len(os.listdir("/proc/self/task")) == 1


def look_around(prefix: str) -> None:
    """Have the import system know what lies in the library's directories; of the environment's it must know nothing."""
    sys.path_importer_cache.clear()
    PathFinder.find_spec(" ")
    for path in [path for path in sys.path_importer_cache if path.startswith(prefix)]:
        del sys.path_importer_cache[path]


def main(control: int, baseline: "frozenset[str]") -> None:
    """Set up, then serve until the worker hangs up; ``baseline`` are the modules that a fresh interpreter has."""
    channel = Channel(control)
    setup = channel.receive()
    if setup is None:
        return
    closures = {}
    if setup["closures"]:
        with open(setup["closures"]) as known:
            closures = JSONTEXT.loads(known.read())
    setup["read"] += own_places()
    # A namespace's first process gets from others in it what it handles, and nothing else (pid_namespaces(7)).
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    sandbox = SANDBOX.Sandbox(setup)
    try:
        sandbox.enter()
    except OSError as error:
        channel.send({"error": str(error)})
        return
    os.chdir("/")
    sys.path.insert(0, "")
    sys.dont_write_bytecode = True  # what children write is their own
    hidden_modules = HIDDEN_MODULES.HiddenModules(closures, baseline)
    hidden_modules.hide()
    sys.meta_path.insert(0, hidden_modules)
    sys.argv[:] = ["-c"]
    look_around(setup["prefix"])
    gc.disable()
    freeze()
    channel.send({"warm": can_fork(closures)})
    zygotes = ZYGOTES.Zygotes(sandbox, channel.socket) if sandbox.level >= 3 else None
    while True:
        request = channel.receive()
        if request is None:
            return
        if "stay" in request:
            settle(channel, sandbox, request["stay"])
        else:
            serve(channel, sandbox, hidden_modules, zygotes, request)
