"""One child as its fork server sees it. Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7."""

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import process_tree as PROCESS_TREE
    from pytest_spip.run.child import zygotes as ZYGOTES
    from pytest_spip.run.protocol import RequestMessage

KEPT = 64 << 10
RESULT_LIMIT, STREAM_LIMIT, BYTECODE_LIMIT = 1 << 20, 32 << 20, 64 << 20
MOST_READS = 64
"""Reads of a pipe that is looked into once: more than is kept of it."""
FIRST_LOOK, LOOK = 0.1, 0.2
"""Seconds after which a child's processes are looked at, and then again: most are gone before that."""


class Child:
    """One forked child, as the server sees it: reads what it says, ends it, and reports what became of it."""

    def __init__(self, request: "RequestMessage", channel: "_socket.socket", zygotes: "ZYGOTES.Zygotes | None") -> None:
        self.request = request
        self.channel = channel
        self.zygotes = zygotes
        self.nonce = os.urandom(16).hex().encode()
        (self.result, self.output, self.fault, nonce), self.theirs = zip(*(os.pipe() for _ in range(4)))
        os.write(self.theirs[3], self.nonce)
        os.close(self.theirs[3])
        self.theirs = (*self.theirs[:3], nonce)
        self.texts = {self.result: bytearray(), self.output: bytearray(), self.fault: bytearray()}
        self.result_limit = (
            BYTECODE_LIMIT if request["sources"] else STREAM_LIMIT if request["streams"] else RESULT_LIMIT
        )
        self.head = b""
        self.said = 0
        self.cut = self.evidence = ""
        self.spent, self.active = 0.0, 0.0

    def leaving(self) -> "list[KERNEL.Call]":
        """Prepare to keep nothing of the server's: for the child."""
        return [(os.close, (descriptor,), "") for descriptor in self.texts]

    def watch(self, pid: int) -> None:
        """Return when the child has ended, or must be ended; ``cut`` says which."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.start = self.active = time.monotonic()
        self.pidfd = KERNEL.pidfd_open(pid)
        if self.ends_soon():
            return
        poller = select.poll()
        for descriptor in (self.result, self.output, self.pidfd, self.channel.fileno()):
            poller.register(descriptor, select.POLLIN)
        look = self.start + FIRST_LOOK
        until = self.start + self.request["timeout"]
        while not self.cut:
            now = time.monotonic()
            ready = [descriptor for descriptor, _ in poller.poll(max(0.0, min(until, look) - now) * 1000)]
            for descriptor in ready:
                if descriptor in self.texts and not self.read(descriptor):
                    poller.unregister(descriptor)
            if self.pidfd in ready:
                return
            if self.channel.fileno() in ready:
                self.cut = "worker gone"
            now = time.monotonic()
            if now >= until:
                self.cut = self.cut or "timeout"
            if now >= look:
                self.look(now)
                look = now + LOOK

    def ends_soon(self) -> bool:
        """Wait for an import's end, and for nothing else as long as it would not be looked at: most need no more.

        What it says is read then. A pipe that is full before holds it up until it is listened to.
        """
        if self.request["command"] or self.request["sources"]:
            return False
        poller = select.poll()
        for descriptor in (self.pidfd, self.channel.fileno()):
            poller.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(min(FIRST_LOOK, self.request["timeout"]) * 1000)]
        if self.pidfd in ready:
            self.drain(self.result)
        return self.pidfd in ready

    def drain(self, descriptor: int) -> None:
        """Read what is in a pipe."""
        os.set_blocking(descriptor, False)
        try:
            for _ in range(MOST_READS):  # somebody may go on writing
                if not self.read(descriptor):
                    break
        except BlockingIOError:  # whoever has the other end has not closed it
            pass

    def read(self, descriptor: int) -> int:
        """Read what a pipe has; of the output the end is kept, of the rest the beginning. Return how much it was.

        Streams that are kept apart are kept from the beginning, both of them: who says more than there is room for is killed.
        """
        data = os.read(descriptor, 1 << 16)
        text, apart = self.texts[descriptor], self.request["apart"]
        if descriptor != self.output or apart:
            text += data[: self.result_limit - len(text)]
        else:
            self.head += data[: self.request["head"] - len(self.head)]
            text += data
            if len(text) > 2 * KEPT:
                del text[:-KEPT]
        if descriptor != self.output and not apart:
            return len(data)
        self.said += len(data)
        self.active = time.monotonic()
        if self.said > self.request["output"]:
            self.cut = self.cut or "log-limit"
        return len(data)

    def look(self, now: float) -> None:
        """Look at the child's processes: at their number, their memory, and whether they do anything."""
        process_tree = PROCESS_TREE.descendants(os.getpid())
        if len(process_tree) >= PROCESS_TREE.MANY:
            self.cut, self.evidence = self.cut or "too-many-processes", "%d processes" % len(process_tree)
        memory = sum(PROCESS_TREE.resident_memory(pid) for pid in process_tree)
        if memory > self.request["memory"]:
            memory = sum(PROCESS_TREE.proportional_memory(pid) for pid in process_tree)
        if memory > self.request["memory"]:
            self.cut, self.evidence = (
                self.cut or "out-of-memory",
                "%d MiB in %d processes" % (memory >> 20, len(process_tree)),
            )
        spent = sum(PROCESS_TREE.cpu_seconds(pid) for pid in process_tree)
        if spent > self.spent:
            self.spent, self.active = spent, now
        if self.request["inactivity"] and now - self.active > self.request["inactivity"]:
            self.cut, self.evidence = (
                self.cut or "inactive",
                "no output and no work for %g s" % self.request["inactivity"],
            )

    def end(self, pid: int) -> "tuple[int, float, float]":
        """Kill all that the child left, reap it, and return status, CPU seconds and seconds of the child."""
        if self.texts[self.result].split(b"\0", 2)[1:2] not in ([b"passed"], [b"warm"]) and not self.cut:
            self.count_left()
        if self.zygotes and PROCESS_TREE.SPARED:
            PROCESS_TREE.kill(pid)
        elif self.zygotes:
            PROCESS_TREE.kill(-1)  # all that is in our pid namespace, and nothing can fork any more
        else:
            PROCESS_TREE.kill(-pid)  # not reaped yet, so the number still means its group
            PROCESS_TREE.kill_below(pid)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - self.start
        if self.zygotes and PROCESS_TREE.SPARED:
            self.zygotes.clear()
        elif self.zygotes:
            PROCESS_TREE.reap()
        else:
            PROCESS_TREE.kill_below()
        status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return status, usage.ru_utime + usage.ru_stime, seconds

    def count_left(self) -> None:
        """Count what runs beside a child that ended badly: one that could not fork any more dies of that."""
        left = len(PROCESS_TREE.descendants(os.getpid())) if self.zygotes else 0
        if left >= PROCESS_TREE.MANY:
            self.cut, self.evidence = "too-many-processes", "%d processes" % left

    def kept_output(self) -> bytes:
        """Return what is kept of the output: all, or its end, or its beginning too where that was asked for."""
        text = bytes(self.texts[self.output])
        if self.request["apart"]:
            return text
        tail = text[-KEPT:]
        missing = self.said - len(self.head) - len(tail)
        if not self.head:
            return tail
        return text if missing <= 0 else self.head + b"\n[%d bytes left out]\n" % missing + tail

    def close(self) -> None:
        """Read what is left in the pipes, for their writers are dead (on level 1 somebody may have got away), and close them."""
        for descriptor in self.texts:
            self.drain(descriptor)
            os.close(descriptor)
        os.close(self.pidfd)

    def proven_result(self) -> "tuple[bytes, bool]":
        """Return the result without the nonce, and whether it bears it; nothing if it does not, unless it came bit by bit."""
        text = bytes(self.texts[self.result])
        if self.request["streams"]:
            end = self.nonce + b"\n"
            return text[: -len(end)] if text.endswith(end) else text, text.endswith(end)
        nonce, _, rest = text.partition(b"\0")
        return (rest, True) if nonce == self.nonce else (b"", False)
