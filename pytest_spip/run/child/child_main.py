"""What a fork server's child does. Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7."""

import _signal  # type: ignore[import-not-found]  # signal has wrappers in Python around its functions
import atexit
import builtins
import gc
import os
import resource
import site
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_spip.run.child import bytecode as BYTECODE
    from pytest_spip.run.child import check_import as CHECK_IMPORT
    from pytest_spip.run.child import hidden_modules as HIDDEN_MODULES
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import sandbox as SANDBOX
    from pytest_spip.run.protocol import RequestMessage

EXIT, INTERRUPT, INTERRUPTED = os._exit, int(_signal.SIGINT), _signal.getsignal(_signal.SIGINT)
"""As they were before any package could replace them."""
IMPORTER = sys.__spec__.loader
"""The importer of built-in modules, which is the loader of a ``__main__`` without a file."""
PROGRAM = os.path.realpath(sys.executable)
"""What to start as this interpreter: a wheel may bring another to where the environment has its own."""


def becoming(
    sandbox: "SANDBOX.Sandbox", request: "RequestMessage", descriptors: "tuple[int, int, int, int]"
) -> "list[KERNEL.Call]":
    """Prepare to become one combination's process, with the sandbox closed around it."""
    result, output, _, _ = descriptors
    calls: "list[KERNEL.Call]" = [(os.setsid, (), ""), (_signal.signal, (INTERRUPT, INTERRUPTED), "")]
    attached = request.get("attached", ())
    if attached:
        calls += [(os.dup2, (source, standard), "") for standard, source in enumerate(attached)]
        calls.append((be_attached, (attached,), ""))
    else:
        calls += [(os.close, (0,), ""), (os.open, (os.devnull, os.O_RDONLY), ""), (os.set_inheritable, (0, True), "")]
        calls += [(os.dup2, (output, 1), ""), (os.dup2, (result if request["apart"] else output, 2), "")]
    calls.append((os.close, (output,), ""))
    if sandbox.level >= 3 and not request["stays"]:
        calls += sandbox.environment.composing(request)
    calls.append((os.chdir, (request["cwd"],), ""))
    calls += sandbox.confining()
    calls += SANDBOX.bounding(request["memory"], request["file_size"])
    if request["stdin"]:
        calls.append((take_in, (request["stdin"], request["environment"]["TMPDIR"]), ""))
    return calls


def be_child(
    calls: "Sequence[KERNEL.Call]", request: "RequestMessage", descriptors: "tuple[int, int, int, int]"
) -> None:
    """Be one combination's process by making calls; then start a program, or return for the check to be run here."""
    result, _, fault, nonce = descriptors
    try:
        KERNEL.make(calls)
        if request["command"]:
            start_program(request, {"<result>": result, "<nonce>": nonce})
        if request["sources"]:
            BYTECODE.tell(result, nonce, request["sources"], request["site"] if request["rewrites"] else "")
            EXIT(0)
    except BaseException as error:
        os.write(fault, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "backslashreplace")[:4096])
        EXIT(70)
    os.close(fault)


def be_attached(descriptors: "Sequence[int]") -> None:
    """Have a terminal, if standard input is one, control this session; and files that grow too large end who writes them."""
    import fcntl
    import termios

    for descriptor in descriptors:
        os.close(descriptor)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)  # as for any program of a shell's


def take_in(text: str, directory: str) -> None:
    """Have a text on standard input, as a file without a name: a pipe would want somebody to fill it."""
    path = os.path.join(directory, ".spip-" + os.urandom(8).hex())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    data = text.encode("utf-8", "surrogatepass")
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, 0)
    os.close(descriptor)


def start_program(request: "RequestMessage", names: "Mapping[str, int]") -> None:
    """Become another program. Of our descriptors it keeps those that its command names."""
    for word, descriptor in names.items():
        if word in request["command"]:
            os.set_inheritable(descriptor, True)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores it, and a program would inherit that
    command = [str(names.get(word, word)) for word in request["command"]]
    os.execve(PROGRAM if command[0] == sys.executable else command[0], command, request["environment"])


def sources_below(directories: "tuple[str, ...]") -> str:
    """Return the files of modules that were imported from below directories, one a line."""
    kind = type(sys)
    files: "list[object]" = []
    for module in list(sys.modules.values()) if directories else ():
        try:  # what is no module is asked nothing: it may lie, or raise
            if issubclass(type(module), kind):
                files.append(vars(kind)["__dict__"].__get__(module).get("__file__"))
        except BaseException:
            continue
    return "\n".join(
        file for file in files if type(file) is str and file.startswith(directories) and file.endswith(".py")
    )


def enter_site(directory: str) -> None:
    """Do what a start does with site-packages; most hold nothing that it would run, and then there is little to do.

    The library's own function does it, for versions differ: some process a virtual environment's site-packages twice.
    """
    if not any(name.endswith(".pth") or name.startswith("sitecustomize") for name in os.listdir(directory)):
        if directory not in sys.path:
            sys.path.append(directory)
        return
    first, rest = sys.path[:1], sys.path[1:]
    sys.path[:] = [path for path in rest if path != directory]  # a start puts '' before all when it has done the rest
    for name in ("quit", "exit", "copyright", "credits", "license", "help"):
        vars(builtins).pop(name, None)  # .pth files are read before they are there
    site.main()
    sys.path[:0] = first


def bare_main() -> types.ModuleType:
    """Return a module like the one that ``python -c`` runs in."""
    main = types.ModuleType("__main__")
    main.__loader__ = IMPORTER
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    vars(main)["__builtins__"] = builtins
    return main


def freeze() -> None:
    """Have collections begin as in an interpreter that was just started: the first would look at, and copy, what the server made.

    Without a GIL that writes to every object there is, and PyPy has no such thing.
    """
    if "t" not in getattr(sys, "abiflags", "t"):
        getattr(gc, "freeze", int)()


def warm_check(
    hidden_modules: "HIDDEN_MODULES.HiddenModules",
    request: "RequestMessage",
    result: int,
    nonce: int,
    main: types.ModuleType,
) -> "CHECK_IMPORT.Check":
    """Return what surrounds the imports, in an interpreter that looks as if it had just been started.

    Its server has said beforehand what command was typed: that is the same for many.
    """
    freeze()
    gc.enable()
    sys.modules["__main__"] = main
    sys.dont_write_bytecode = False
    if request["environment"]:
        os.environ.update(request["environment"])
    enter_site(request["site"])
    trace = tuple(request["trace"])

    def more() -> "Sequence[str]":
        return sources_below(trace), "\n".join(hidden_modules.missed())

    return CHECK_IMPORT.Check(result, nonce, request["modules"], more, leave, peak=peak_rss)


def peak_rss() -> int:
    """Peak resident size in bytes, of a process that has started no program since its fork: getrusage(2) counts from there."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def leave() -> None:
    """End as an interpreter does: wait for threads, run exit functions, flush; but tear nothing down."""
    step: "Callable[[], object]"
    for step in (end_threads, atexit._run_exitfuncs, lambda: sys.stdout.flush(), lambda: sys.stderr.flush()):
        try:
            step()
        except BaseException:  # packages may have put anything in their places, and an interpreter ends all the same
            continue
    EXIT(0)


def end_threads() -> None:
    """Wait for threads."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
