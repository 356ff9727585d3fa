"""The fork server's zygotes: processes that have a pytest loaded, and are forked for suites. Level 3 only.

Loaded by path, see forkserver.py; zygote.py is their side, and describes the protocol. A zygote is confined as any child is, for
pytest is untrusted code too: it has no right to mount. So the server goes into a zygote's mount namespace, lays a
combination's environment there, and takes it away when the suite is over; a zygote has one child at a time.
Standard library only, syntax of Python 3.7.
"""

import _signal  # type: ignore[import-not-found]  # as process_tree.py does
import _socket  # as serving.py does; nor array, whose import brings collections along
import os
import resource
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec

    from pytest_spip.run.child import child_main as CHILD_MAIN
    from pytest_spip.run.child import jsontext as JSONTEXT
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import process_tree as PROCESS_TREE
    from pytest_spip.run.child import sandbox as SANDBOX
    from pytest_spip.run.protocol import OrderMessage, RequestMessage, ZygoteMessage

    _Arguments = ParamSpec("_Arguments")

MOST = 3
"""Stems that are kept."""
BIRTH, ANSWER = 60.0, 20.0
"""Seconds after which a zygote, or a child of one, is given up."""
ROUNDS = 20
"""Times that what a child left is killed before everything is."""
EMPTY = "/root"
"""An empty directory of the view."""
LIMITS = range(16)
"""Numbers of limits (getrlimit(2))."""


class Zygote:
    """One process that has a pytest loaded."""

    def __init__(self, pid: int, control: _socket.socket, sandbox: "SANDBOX.Sandbox") -> None:
        self.pid = pid
        self.control = control
        self.sandbox = sandbox
        self.laid = True
        self.space = os.open("/proc/%d/ns/mnt" % pid, os.O_RDONLY)
        self.bounds = bounds_of(pid)

    def within(
        self, function: "Callable[_Arguments, object]", *arguments: "_Arguments.args", **named: "_Arguments.kwargs"
    ) -> None:
        """Call a function in the zygote's mount namespace."""
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        try:
            KERNEL.setns(self.space, KERNEL.CLONE_NEWNS)
            try:
                function(*arguments, **named)
            finally:
                KERNEL.setns(home, KERNEL.CLONE_NEWNS)
                os.chdir("/")
        finally:
            os.close(home)

    def hide(self) -> None:
        """Let no child reach the zygote's memory, which would outlive its turn; the filter refuses the other ways to it."""
        KERNEL.mount(EMPTY, "/proc/%d" % self.pid, None, KERNEL.MS_BIND)

    def lay(self, request: "RequestMessage") -> None:
        """Lay an environment where the zygote is."""
        self.laid = True
        self.within(self.sandbox.environment.lay, request)

    def lift(self) -> None:
        """Take the environment away; nobody is left in it."""
        if self.laid:
            self.within(self.sandbox.environment.lift)
            self.laid = False

    def fork_child(self, request: "RequestMessage", descriptors: "tuple[int, int, int]") -> "tuple[int, bool]":
        """Return the pid of a child that runs a suite, and whether it does so warm; raises ``OSError``."""
        if bounds_of(self.pid) != self.bounds:
            raise OSError("somebody limited a zygote")
        os.kill(self.pid, _signal.SIGCONT)  # should somebody have stopped it
        self.lay(request)
        order: "OrderMessage" = {
            "command": request["command"],
            "environment": request["environment"],
            "cwd": request["cwd"],
            "site": request["site"],
        }
        self.control.send(b"fork")
        passed = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("3i", *descriptors))]
        self.control.sendmsg([JSONTEXT.dumps(order).encode()], passed)
        self.control.settimeout(ANSWER)
        answer = JSONTEXT.loads(self.control.recv(4096).decode() or "{}")
        return int(answer["pid"]), not answer["cold"]

    def close(self) -> None:
        """Kill it."""
        PROCESS_TREE.SPARED.discard(self.pid)
        PROCESS_TREE.kill(self.pid)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        os.close(self.space)
        self.control.close()


class Zygotes:
    """The zygotes of a server, by key; the one that was used last is last."""

    def __init__(self, sandbox: "SANDBOX.Sandbox", channel: _socket.socket) -> None:
        self.sandbox = sandbox
        self.channel = channel
        self.known: "dict[str, Zygote]" = {}
        self.unfit: "set[str]" = set()

    def fork_child(self, request: "RequestMessage", descriptors: "tuple[int, int, int]") -> "tuple[int, bool]":
        """Return pid and warmth of a child, or a pid of 0 when no zygote can have one."""
        zygote = next(filter(None, (self.found(request, wanted) for wanted in request["zygotes"])), None)
        if zygote is None:
            return 0, False
        try:
            return zygote.fork_child(request, descriptors)
        except (OSError, ValueError, KeyError, TypeError):
            self.give_up()
            return 0, False

    def found(self, request: "RequestMessage", wanted: "ZygoteMessage") -> "Zygote | None":
        """Return a zygote that is wanted; None when its pytest cannot be one."""
        key = wanted["key"]
        if key in self.unfit:
            return None
        zygote = self.known.pop(key, None) or self.spawn(request, wanted)
        if zygote is None:
            self.unfit.add(key)
        else:
            self.known[key] = zygote
        return zygote

    def spawn(self, request: "RequestMessage", wanted: "ZygoteMessage") -> "Zygote | None":
        """Return a new zygote; None when its pytest cannot be one."""
        while len(self.known) >= MOST:
            self.known.pop(next(iter(self.known))).close()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                self.channel.close()
                nowhere = a_file_of_its_own(), a_file_of_its_own(), a_file_of_its_own()
                # A message queue would outlive its suite. What needs one fails, and is then run cold, as all that fails is.
                resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
                own: "Any" = {**request, **wanted, "scripts": (), "sources": (), "begins": True}
                descriptors = theirs.fileno(), *nowhere
                CHILD_MAIN.be_child(CHILD_MAIN.becoming(self.sandbox, own, descriptors), own, descriptors)
            finally:
                os._exit(70)
        theirs.close()
        try:
            return self.ready(pid, ours)
        except OSError:
            PROCESS_TREE.SPARED.discard(pid)
            ours.close()
            self.clear()
            return None

    def ready(self, pid: int, control: _socket.socket) -> Zygote:
        """Wait for a zygote to have loaded its pytest, and put it out of the reach of others."""
        control.settimeout(BIRTH)
        reply = control.recv(1024)
        if reply != b"ready":
            raise OSError(reply.decode("utf-8", "replace") or "it died")
        PROCESS_TREE.SPARED.add(pid)
        self.clear()
        zygote = Zygote(pid, control, self.sandbox)
        zygote.lift()
        zygote.within(zygote.hide)
        zygote.hide()
        return zygote

    def clear(self) -> None:
        """Kill and reap all but the zygotes; should somebody be too quick for that, the zygotes as well."""
        for _ in range(ROUNDS):
            reap_dead()
            rest = PROCESS_TREE.sandbox_uids()
            if not rest:
                break
            kill_and_wait(rest)
        else:
            self.give_up()
        for key, zygote in list(self.known.items()):
            if zygote.pid not in PROCESS_TREE.SPARED:
                del self.known[key]
                zygote.close()
            else:
                zygote.lift()

    def give_up(self) -> None:
        """Kill all there is."""
        PROCESS_TREE.SPARED.clear()
        PROCESS_TREE.kill(-1)
        PROCESS_TREE.reap()
        while self.known:
            self.known.popitem()[1].close()


def a_file_of_its_own() -> int:
    """Return a descriptor to write to, which nobody reads, and whose copies can be recognised; from Python 3.8 on."""
    make = getattr(os, "memfd_create", lambda _: os.open(os.devnull, os.O_WRONLY))
    return make("output")


def bounds_of(pid: int) -> "list[object]":
    """Return a process's limits, and how it is scheduled; a child has the zygote's user, and could change them."""
    scheduling = os.sched_getaffinity(pid), os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
    return [*scheduling, *(resource.prlimit(pid, number) for number in LIMITS)]


def reap_dead() -> None:
    """Reap who has ended; a zygote among them is none any more."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        PROCESS_TREE.SPARED.discard(pid)


def kill_and_wait(pids: "Iterable[int]") -> None:
    """Kill processes, and wait a while for their ends."""
    ends = []
    for pid in pids:
        try:
            ends.append(KERNEL.pidfd_open(pid))
        except OSError:
            continue
        PROCESS_TREE.kill(pid)
    for end in ends:
        select.select([end], [], [], 1.0)
        os.close(end)
