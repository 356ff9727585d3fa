"""Runs inside an environment's interpreter, by path: forks a child for every combination, warm, or cold for a new program.

    PYTHON -I -B forkserver.py CONTROL

CONTROL is a stream socket to the worker. Either side sends messages: the number of parts, then each part's length, as
big-endian 32 bit numbers, then the parts. The first part is JSON, what follows it bytes.

    worker: {setup}                 see sandbox.py; also "closures", the file that closures.py wrote, or nothing
    server: {"warm": bool}          it can fork warm children;  or {"error": TEXT}, and the server ends
    worker: {request}               "layers", "scripts"    of the environment, see Sandbox.compose
                                    "cwd", "site"          where the child works; its site-packages
                                    "memory", "file_size", "output", "timeout", "inactivity"  limits: bytes and seconds
                                    "modules"              to import; "trace", a directory: tell what was imported of it
                                    "command", "environment"   the program to start instead of a warm child; the words
                                                           <result> and <nonce> in it become descriptors
                                    "sources"              to compile instead of all that, see bytecode.py
    server: {"status", "cut", "evidence", "seconds", "cpu_seconds", "error"} RESULT OUTPUT
            status as subprocess has it; cut and evidence say why a child was killed; a child that never came to run its
            check says why in error. RESULT is what check_import.py tells, without the nonce, OUTPUT the tail of the rest.

A child proves that it has come to its end by a nonce that lies in a pipe until then: what a package writes on the result's
descriptor by itself does not bear it. When the worker hangs up, the server kills what runs and ends.
Single-threaded, standard library only, syntax of Python 3.7; nothing imports this file.
"""

import sys

BASELINE = frozenset(sys.modules)

import atexit  # noqa: E402  # whatever is imported from here on goes to the shelf
import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import site  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
import time  # noqa: E402
import types  # noqa: E402
from importlib.machinery import PathFinder  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = 64 << 10
RESULT_LIMIT, BYTECODE_LIMIT = 1 << 20, 64 << 20
FIRST_LOOK, LOOK = 0.1, 0.2
"""Seconds after which a child's processes are looked at, and then again: most are gone before that."""
EXIT, INTERRUPTED = os._exit, signal.getsignal(signal.SIGINT)
"""As they were before any package could replace them."""


def load(name):
    """Return a module made of a file beside this one; nothing of ours is ever importable."""
    module = types.ModuleType(name)
    module.__file__ = os.path.join(HERE, name + ".py")
    with open(module.__file__) as source:
        exec(compile(source.read(), module.__file__, "exec"), vars(module))
    return module


class Channel:
    """The socket to the worker."""

    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)

    def receive(self):
        """Return a message's JSON; None when the worker is gone."""
        head = self.read(4)
        if not head:
            return None
        sizes = struct.unpack("!%dI" % struct.unpack("!I", head), self.read(4 * struct.unpack("!I", head)[0]))
        parts = [self.read(size) for size in sizes]
        return json.loads(parts[0].decode())

    def read(self, size):
        """Return so many bytes, or none when the worker is gone."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data

    def send(self, plain, *parts):
        """Send a message."""
        parts = (json.dumps(plain).encode(), *parts)
        self.socket.sendall(struct.pack("!%dI" % (len(parts) + 1), len(parts), *map(len, parts)) + b"".join(parts))


class Child:
    """One forked child, as the server sees it: reads what it says, ends it, and tells what became of it."""

    def __init__(self, request, channel, first):
        self.request = request
        self.channel = channel
        self.first = first
        self.nonce = os.urandom(16).hex().encode()
        (self.result, self.output, self.fault, nonce), self.theirs = zip(*(os.pipe() for _ in range(4)))
        os.write(self.theirs[3], self.nonce)
        os.close(self.theirs[3])
        self.theirs = (*self.theirs[:3], nonce)
        self.texts = {self.result: bytearray(), self.output: bytearray(), self.fault: bytearray()}
        self.result_limit = BYTECODE_LIMIT if request["sources"] else RESULT_LIMIT
        self.said = 0
        self.cut = self.evidence = ""
        self.spent, self.active = 0.0, 0.0

    def watch(self, pid):
        """Return when the child has ended, or must be ended; ``cut`` tells which."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.start = self.active = time.monotonic()
        self.pidfd = KERNEL.pidfd_open(pid)
        poller = select.poll()
        for descriptor in (self.result, self.output, self.pidfd, self.channel.socket.fileno()):
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
            if self.channel.socket.fileno() in ready:
                self.cut = "worker gone"
            now = time.monotonic()
            if now >= until:
                self.cut = self.cut or "timeout"
            if now >= look:
                self.look(now)
                look = now + LOOK

    def read(self, descriptor):
        """Read what a pipe has; of the output the end is kept, of the rest the beginning. Return how much it was."""
        data = os.read(descriptor, 1 << 16)
        text = self.texts[descriptor]
        if descriptor != self.output:
            text += data[: self.result_limit - len(text)]
            return len(data)
        self.said += len(data)
        self.active = time.monotonic()
        text += data
        if len(text) > 2 * KEPT:
            del text[:-KEPT]
        if self.said > self.request["output"]:
            self.cut = self.cut or "log-limit"
        return len(data)

    def look(self, now):
        """Look at the child's processes: at their number, their memory, and whether they do anything."""
        family = FAMILY.descendants(os.getpid())
        if len(family) >= FAMILY.MANY:
            self.cut, self.evidence = self.cut or "too-many-processes", "%d processes" % len(family)
        memory = sum(FAMILY.resident_memory(pid) for pid in family)
        if memory > self.request["memory"]:
            memory = sum(FAMILY.proportional_memory(pid) for pid in family)
        if memory > self.request["memory"]:
            self.cut, self.evidence = (
                self.cut or "out-of-memory",
                "%d MiB in %d processes" % (memory >> 20, len(family)),
            )
        spent = sum(FAMILY.cpu_seconds(pid) for pid in family)
        if spent > self.spent:
            self.spent, self.active = spent, now
        if self.request["inactivity"] and now - self.active > self.request["inactivity"]:
            self.cut, self.evidence = (
                self.cut or "inactive",
                "no output and no work for %g s" % self.request["inactivity"],
            )

    def end(self, pid):
        """Kill all that the child left, reap it, and return status, CPU seconds and seconds of the child."""
        if self.texts[self.result].split(b"\0", 2)[1:2] not in ([b"passed"], [b"warm"]) and not self.cut:
            self.count_left()
        if not self.first:
            FAMILY.kill(-pid)  # not reaped yet, so the number still means its group
        FAMILY.kill_rest(self.first, pid)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - self.start
        FAMILY.kill_rest(self.first)
        status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return status, usage.ru_utime + usage.ru_stime, seconds

    def count_left(self):
        """Count what runs beside a child that ended badly: one that could not fork any more dies of that."""
        left = len(FAMILY.descendants(os.getpid())) if self.first else 0
        if left >= FAMILY.MANY:
            self.cut, self.evidence = "too-many-processes", "%d processes" % left

    def close(self):
        """Read what is left in the pipes, for their writers are dead, and close them."""
        for descriptor in self.texts:
            os.set_blocking(descriptor, False)
            try:
                while self.read(descriptor):
                    continue
            except BlockingIOError:  # level 1: somebody got away with a descriptor
                pass
            os.close(descriptor)
        os.close(self.pidfd)

    def proven_result(self):
        """Return the result without the nonce; nothing if it does not bear it."""
        nonce, _, rest = bytes(self.texts[self.result]).partition(b"\0")
        return rest if nonce == self.nonce else b""


# -- in the child ---------------------------------------------------------------------------------------------------------


def be_child(sandbox, shelf, request, descriptors):
    """Be one combination's process: close the sandbox around it, then run the check here or in a new program."""
    result, output, fault, nonce = descriptors
    try:
        os.setsid()
        signal.signal(signal.SIGINT, INTERRUPTED)
        null = os.open(os.devnull, os.O_RDONLY)
        for standard, source in enumerate((null, output, output)):
            os.dup2(source, standard)
        os.close(null)
        os.close(output)
        if sandbox.level >= 3:
            sandbox.compose(request["layers"], request["scripts"])
        os.chdir(request["cwd"])
        sandbox.confine()
        SANDBOX.limit(request["memory"], request["file_size"])
        if request["command"]:
            start_program(request, {"<result>": result, "<nonce>": nonce})
        if request["sources"]:
            BYTECODE.tell(result, nonce, request["sources"])
            EXIT(0)
    except BaseException as error:
        os.write(fault, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "backslashreplace")[:4096])
        EXIT(70)
    os.close(fault)
    run_warm(shelf, request, result, nonce)


def start_program(request, names):
    """Become another program. Of our descriptors it keeps those that its command names."""
    for word, descriptor in names.items():
        if word in request["command"]:
            os.set_inheritable(descriptor, True)
    command = [str(names.get(word, word)) for word in request["command"]]
    os.execve(PROGRAM if command[0] == sys.executable else command[0], command, request["environment"])


def sources_below(directory):
    """Return the files of modules that were imported from below a directory, one a line; none for no directory."""
    kind = type(sys)
    modules = [module for module in list(sys.modules.values()) if directory and isinstance(module, kind)]
    files = [kind.__getattribute__(module, "__dict__").get("__file__") for module in modules]
    return "\n".join(
        file for file in files if type(file) is str and file.startswith(directory) and file.endswith(".py")
    )


def run_warm(shelf, request, result, nonce):
    """Run the check in an interpreter that looks as if it had just been started."""
    gc.enable()
    main = types.ModuleType("__main__")
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    site.addsitedir(request["site"])
    if "sitecustomize" not in sys.modules:
        site.execsitecustomize()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # what was said before a crash counts
    trace = request["trace"]
    CHECK.run(result, nonce, request["modules"], lambda: (sources_below(trace), "\n".join(shelf.missed())))
    leave()


def leave():
    """End as an interpreter does: wait for threads, run exit functions, flush; but tear nothing down."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue
    EXIT(0)


# -- the server -------------------------------------------------------------------------------------------------------------


def serve(channel, sandbox, shelf, request):
    """Fork for a request, see the child to its end, answer, and learn from it."""
    child = Child(request, channel, sandbox.level >= 3)
    pid = os.fork()
    if pid == 0:
        try:
            channel.socket.close()
            for descriptor in child.texts:
                os.close(descriptor)
            be_child(sandbox, shelf, request, child.theirs)
        finally:
            EXIT(70)  # whatever went wrong, the child must not become a second server
    child.watch(pid)
    status, cpu, seconds = child.end(pid)
    child.close()
    if child.cut == "worker gone":
        raise SystemExit
    told = {"status": status, "cut": child.cut, "evidence": child.evidence, "seconds": seconds, "cpu_seconds": cpu}
    told["error"] = child.texts[child.fault].decode("utf-8", "replace")
    result = child.proven_result()
    channel.send(told, result, bytes(child.texts[child.output][-KEPT:]))
    learn(shelf, result)


def learn(shelf, result):
    """Import for later children what this one had to import by itself; it may say what it likes, and get no more than that."""
    kind, *fields = result.split(b"\0")
    if kind == b"warm" and len(fields) == 4 and fields[2]:
        shelf.learn(fields[2].decode("ascii", "replace").split("\n"))
        gc.collect()
        gc.freeze()


def own_places():
    """Return the directories that this interpreter lives in, by the names it knows and by their real ones."""
    program = os.path.dirname(os.path.realpath(sys.executable))
    places = [sys.base_prefix, sys.base_exec_prefix, program]
    return [place for known in places for place in (known, os.path.realpath(known)) if place != "/"]


def can_fork(closures):
    """Tell whether this interpreter can be copied as it is: CPython, one thread, and known closures."""
    return bool(closures) and sys.implementation.name == "cpython" and len(os.listdir("/proc/self/task")) == 1


def look_around(prefix):
    """Have the import system know what lies in the library's directories; of the environment's it must know nothing."""
    sys.path_importer_cache.clear()
    PathFinder.find_spec(" ")
    for path in [path for path in sys.path_importer_cache if path.startswith(prefix)]:
        del sys.path_importer_cache[path]


def main(control):
    """Set up, then serve until the worker hangs up."""
    channel = Channel(int(control))
    setup = channel.receive()
    if setup is None:
        return
    closures = {}
    if setup["closures"]:
        with open(setup["closures"]) as known:
            closures = json.load(known)
    setup["read"] += own_places()
    # A namespace's first process gets from others in it what it handles, and nothing else (pid_namespaces(7)).
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sandbox = SANDBOX.Sandbox(setup, KERNEL, SECCOMP)
    try:
        sandbox.enter()
    except OSError as error:
        channel.send({"error": str(error)})
        return
    os.chdir("/")
    shelf = SHELF.Shelf(closures, BASELINE)
    shelf.hide()
    sys.meta_path.insert(0, shelf)
    sys.argv[:] = ["-c"]
    look_around(setup["prefix"])
    gc.disable()
    gc.freeze()
    channel.send({"warm": can_fork(closures)})
    while True:
        request = channel.receive()
        if request is None:
            return
        serve(channel, sandbox, shelf, request)


KERNEL = load("kernel")
FAMILY = load("family")
SANDBOX = load("sandbox")
SECCOMP, SHELF, CHECK, BYTECODE = load("seccomp"), load("shelf"), load("check_import"), load("bytecode")
PROGRAM = os.path.realpath(sys.executable)
"""What to start as this interpreter: a wheel may bring another to where the environment has its own."""
main(*sys.argv[1:])
