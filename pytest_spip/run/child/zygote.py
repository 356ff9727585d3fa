"""Runs inside a combination's interpreter, loaded by check_suite.py: loads pytest once, and is forked for suites after that.

    python -u check_suite.py CONTROL zygote SESSION ARGUMENT...

CONTROL is a socket of packets to the fork server, see zygotes.py, which lays environments over the place where this one lies.

    zygote:   "ready"                      pytest is loaded; or why it can serve no suite, and the zygote ends
    server: "fork"                       then a packet of JSON with the descriptors of result, output and nonce:
                                         "command", "environment" of a cold program that does the same; "cwd", "site"
    child:  {"pid", "cold"}              it runs the suite; cold says why it becomes that program instead, or nothing

Until it forks, a zygote is what a cold program is before pytest looks at the first plugin of the environment. It holds what it
looked for and found, and a child that would find anything else becomes a cold program. With SESSION, which is a hook of
pytest's or empty, it goes further: the tree with the suite is there already, and its session has come to that hook when it
forks, as far as it comes without the tree's code. That is for environments that bring no plugins.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import ModuleType
    from typing import Any, NoReturn

    from pytest_spip.run.protocol import OrderMessage

module_files: "Callable[[], list[str]]"
"""A function of check_suite.py, given by who loads this."""
SPOILED = ("pkg_resources", "setuptools", "distutils")
"""Modules that look around in the environment when they are imported."""
IMPORTABLE = (".py", ".pyc", ".so")
PATH_CODE = (("distutils-precedence.pth", "_distutils_hack"), ("-nspkg.pth", "types"))
"""Ends of names of .pth files whose code has nothing to do with pytest, and a word of it."""
IDLE_CODE = ("COV_CORE_SOURCE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""Variables without which the code of .pth files that name them does nothing."""


class Looked:
    """A finder that finds nothing and remembers what was looked for."""

    def __init__(self) -> None:
        self.names: "dict[str, None]" = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Note a name."""
        self.names[name] = None


def blocked(words: "Sequence[str]") -> "set[str]":
    """Return the plugins that arguments keep out, ``-p no:NAME`` or ``-pno:NAME``."""
    joined = [word[2:] for word in words if word.startswith("-p")]
    names = {word[3:] for word in (*joined, *words) if word.startswith("no:")}
    return names | ({"stepwise"} if "cacheprovider" in names else set())  # without the first there is no second


def load_pytest(words: "Sequence[str]") -> None:
    """Import what a session imports before it looks for plugins of others."""
    __import__("pytest")
    names = sys.modules["_pytest.config"].default_plugins
    for name in names:
        if name not in blocked(words):
            __import__("_pytest." + name)
    if "debugging" not in blocked(words):
        __import__("pdb")  # which that one imports as soon as it is configured


def state_of(path: str) -> "tuple[int, int, int] | None":
    """Return what distinguishes one file from another; nothing for one that is not there."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino


def origin_of(name: str) -> "str | None":
    """Return where the import system finds a module; None when it does not."""
    parent = name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        return None
    path = getattr(sys.modules[parent], "__path__", ()) if parent else None
    finder = sys.modules["importlib.machinery"].PathFinder
    spec = finder.find_spec(name, path)
    return None if spec is None else spec.origin


class Known:
    """What a zygote found in its environment: the origins of modules by name, the states of files, what lay beside them.

    Names that are absent are listed as such; what the standard library has cannot come from anywhere else.
    """

    def __init__(self, looked: "Iterable[str]") -> None:
        top = sys.prefix + os.sep
        self.names: "dict[str, str | None]" = {}
        for name in looked:
            module = sys.modules.get(name)
            origin = origin_of(name) if module is None else getattr(module.__spec__, "origin", None)
            if module is None or (origin or "").startswith(top):
                self.names[name] = origin
        origins = [origin for origin in self.names.values() if origin]
        self.states = {path: state_of(path) for path in (*origins, os.path.join(sys.prefix, "pyvenv.cfg"))}
        self.path = list(sys.path)
        self.scripts = top + "bin"
        self.roots = [path for path in sys.path if path.startswith(top) and path != self.scripts]
        self.tops = {name.partition(".")[0] for name in self.names}
        self.packages = {os.path.dirname(origin) for origin in origins}.difference(self.roots)
        self.entries = self.found()
        self.plugins = plugins_below(self.roots)

    def found(self) -> "dict[str, set[str]]":
        """Return what lies where modules were looked for: all of packages, of site-packages what could be one of those names."""
        found = {
            root: {name for name in os.listdir(root) if name.partition(".")[0] in self.tops} for root in self.roots
        }
        return {**found, **{place: {*os.listdir(place)} - {"__pycache__"} for place in self.packages}}

    def shadows(self) -> "list[str]":
        """Return the scripts, which come first where modules are looked for, that would be found instead of one."""
        names = [name for name in os.listdir(self.scripts) if name.partition(".")[0] in self.tops]
        return [name for name in names if name.endswith(IMPORTABLE) or os.path.isdir(os.path.join(self.scripts, name))]

    def change(self) -> str:
        """Say which file or module is another than it was."""
        for path, state in self.states.items():
            if state_of(path) != state:
                return path
        if sys.path == self.path and self.found() == self.entries:
            return ""
        return next((name for name, origin in self.names.items() if origin_of(name) != origin), "")


def plugins_below(roots: "Iterable[str]") -> "list[str]":
    """Return the metadata that name plugins of pytest's."""
    found = [os.path.join(root, name, "entry_points.txt") for root in roots for name in os.listdir(root)]
    return [path for path in sorted(found) if path.endswith("-info/entry_points.txt") and b"pytest11" in content(path)]


def content(path: str) -> bytes:
    """Return what is in a file; nothing for one that is not there."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def unfit(spoiled: "Sequence[str]") -> str:
    """Say why this process can be no zygote, if so; ``spoiled`` are modules that may not be there."""
    if sys.implementation.name != "cpython":
        return "only CPython is forked"
    if any(name in sys.modules for name in spoiled):
        return "it imports what looks around in its environment"
    if len(os.listdir("/proc/self/task")) != 1:
        return "it starts threads"
    return ""


def path_code(site: str) -> str:
    """Say which file runs code at the start of an interpreter that might change what pytest is; mostly there is none."""
    for name in sorted(os.listdir(site)):
        if name.startswith(("sitecustomize", "usercustomize")):
            return name
        if name.endswith(".pth") and not harmless(os.path.join(site, name)):
            return name
    return ""


def harmless(path: str) -> bool:
    """Tell whether what a .pth file runs may as well run after the import of pytest."""
    text = content(path).decode("utf-8", "replace")
    if any(path.endswith(end) and word in text for end, word in PATH_CODE):
        return True
    code = [line for line in text.splitlines() if line.startswith(("import ", "import\t"))]
    return all(any(name in line for name in IDLE_CODE) for line in code) and not any(map(os.environ.get, IDLE_CODE))


def stale(site: str, known: Known, session: bool) -> str:
    """Say why a cold program would load another pytest here, or begin another session; nothing when it would be the same."""
    if path_code(site):
        return path_code(site)
    sys.path_importer_cache.clear()
    sys.modules["importlib"].invalidate_caches()
    sys.modules["site"].addsitedir(site)
    if session and plugins_below(known.roots) != known.plugins:
        return "other plugins"
    return known.change() or "".join(known.shadows()[:1])


def given_variables() -> "dict[str, str]":
    """Return the variables that this process was started with."""
    pairs = (os.fsdecode(pair).partition("=") for pair in content("/proc/self/environ").split(b"\0") if pair)
    return {name: text for name, _, text in pairs}


def borrowed(name: str) -> "Any":
    """Return a module, which is not left in sight if it was not."""
    had = name in sys.modules
    module = __import__(name)
    if not had:
        del sys.modules[name]
    return module


def receive(control: int) -> "tuple[OrderMessage, list[int]]":
    """Return a request and its descriptors."""
    socket = borrowed("_socket")
    channel = socket.socket(fileno=control)
    text, extra, _, _ = channel.recvmsg(1 << 20, socket.CMSG_SPACE(3 * 4))
    channel.detach()
    data = extra[0][2]
    return json.loads(text.decode()), [int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4, 8)]


def copies_of_output() -> "list[int]":
    """Return standard output, standard error, and whatever a session made of them: a zygote's lead to a file of their own."""
    own, found = os.fstat(1), [1, 2]
    for name in os.listdir("/proc/self/fd"):
        try:
            state = os.fstat(int(name))
        except OSError:  # that of the listing
            continue
        if int(name) > 2 and not own.st_rdev and (state.st_dev, state.st_ino) == (own.st_dev, own.st_ino):
            found.append(int(name))
    return found


def leave_parent() -> None:
    """Have a child whose parent is the server, as a cold program's is: only orphans are. Returns in the child."""
    waiting, holding = os.pipe()
    if os.fork():
        os._exit(0)
    os.close(holding)
    os.read(waiting, 1)
    os.close(waiting)


def be_child(zygote: "Zygote", why_stale: "Callable[[OrderMessage], str]") -> "list[str]":
    """Become what the server asks for, and return the command of the cold program that does the same."""
    control = zygote.control
    request, (result, output, nonce) = receive(control)
    leave_parent()
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for copy in copies_of_output():
        os.dup2(output, copy, inheritable=os.get_inheritable(copy))
    os.dup2(null, 0)
    os.close(null)
    os.close(output)
    os.chdir(request["cwd"])
    for name in zygote.variables.keys() - request["environment"].keys():
        del os.environ[name]
    os.environ.update(request["environment"])
    numbers = {"<result>": str(result), "<nonce>": str(nonce)}
    command = [numbers.get(word, word) for word in request["command"]]
    why = why_stale(request)
    os.write(control, json.dumps({"pid": os.getpid(), "cold": why[:500]}).encode())
    os.close(control)
    if why:
        os.set_inheritable(result, True)
        os.set_inheritable(nonce, True)
        os.execve(os.path.realpath(sys.executable), command, request["environment"])
    for word, descriptor in (("<result>", result), ("<nonce>", nonce)):
        if word not in request["command"]:
            os.close(descriptor)
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = command
    threading = sys.modules.get("threading")
    if threading is not None:
        getattr(threading.main_thread(), "_set_native_id", int)()
    return command


def leave(status: int) -> None:
    """End as an interpreter does, but tear down only what might resist: code that is not Python's own."""
    foreign = [file for file in module_files() if file.startswith(sys.prefix) and not file.endswith(".py")]  # noqa: F821  # given
    if foreign or "_ctypes" in sys.modules or os.getpid() != os.getsid(0):
        sys.exit(status)
    step: "Callable[[], object]"
    for step in (end_threads, run_exit_functions, lambda: sys.stdout.flush(), lambda: sys.stderr.flush()):
        try:
            step()
        except BaseException:  # tests may have put anything in their places
            continue
    os._exit(status)


def end_threads() -> None:
    """Wait for threads."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()


def run_exit_functions() -> None:
    """Run what was registered for the end."""
    import atexit

    atexit._run_exitfuncs()


class Zygote:
    """This process, until it is forked. ``session`` says whether its session has begun by then."""

    def __init__(self, control: int, session: bool) -> None:
        os.set_inheritable(control, False)
        self.control = control
        self.session = session
        self.variables = given_variables()  # what the interpreter adds at its start, or a session, is their own
        self.looked = Looked()

    def load(self, words: "Sequence[str]") -> None:
        """Load pytest for a session with these arguments."""
        if any(name.endswith(".pth") for path in sys.path if path.startswith(sys.prefix) for name in os.listdir(path)):
            self.give_up("its own wheels bring .pth files")
        sys.meta_path.insert(0, self.looked)
        try:
            load_pytest(words)
        except BaseException as error:
            self.give_up("%s: %s" % (type(error).__name__, error))

    def give_up(self, why: str) -> "NoReturn":
        """Report why this can be no zygote, and end."""
        os.write(self.control, why.encode("utf-8", "replace")[:500])
        os._exit(0)

    def fork(self) -> "list[str]":
        """Be forked, time and again, for suites; returns in children, with their arguments."""
        sys.meta_path.remove(self.looked)
        self.check(SPOILED)
        os.chdir("/")
        known = Known(self.looked.names)
        return self.serve(lambda request: stale(request["site"], known, self.session))[3:]

    def check(self, spoiled: "Sequence[str]" = ()) -> None:
        """Give up if this process can be no zygote; ``spoiled`` are modules that may not be there."""
        why = unfit(spoiled)
        if why:
            self.give_up(why)

    def serve(self, why_stale: "Callable[[OrderMessage], str]") -> "list[str]":
        """Be forked, time and again; returns in children, with the command of the cold program that does the same.

        ``why_stale`` is asked in children, for a reason to become that program, or nothing.
        """
        gc = borrowed("gc")
        gc.collect()
        gc.freeze()  # or collections in children would look at all that is here, and have it copied
        os.write(self.control, b"ready")
        while os.read(self.control, 16) == b"fork":
            pid = os.fork()
            if pid == 0:
                try:
                    return be_child(self, why_stale)
                except BaseException:
                    os._exit(70)
            os.waitpid(pid, 0)
        os._exit(0)


def begun(zygote: Zygote, begin: "Callable[..., None]", hook: str) -> "ModuleType":
    """Return a plugin of pytest's by which a zygote is forked in its session; children ``begin`` what they are to do.

    ``hook`` says when: before conftests are loaded, or before collection, for a tree without them. Nobody's wrapper is around
    it by then.
    """

    def pytest_load_initial_conftests() -> "Generator[None]":
        begin(*zygote.fork())
        yield

    def pytest_collection(session: "Any") -> "Generator[None]":
        capture = session.config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()
        begin(*zygote.fork())
        capture.start_global_capturing()
        capture.suspend_global_capture()
        yield

    plugin = type(sys)("begun")
    function = {"pytest_collection": pytest_collection}.get(hook, pytest_load_initial_conftests)
    setattr(plugin, function.__name__, sys.modules["pytest"].hookimpl(hookwrapper=True, tryfirst=True)(function))
    return plugin
