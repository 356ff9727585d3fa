"""Which sandbox this machine allows: found by attacks on our own things, not by asking for versions."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_spip.errors import HarnessProblem, SandboxProblem, UsageProblem
from pytest_spip.model import Limits, Sandbox
from pytest_spip.run.jobs import CommandJob
from pytest_spip.run.server import CHILD, ForkServer, Setup, has_fork_servers

__all__ = [
    "FIXES",
    "FORCE",
    "OUTSIDE",
    "choose_sandbox",
    "probe_parent",
    "probe_prefix",
    "recorded_sandbox",
    "try_interpreter",
    "try_level",
]

FORCE = "SPIP_SANDBOX_LEVEL"
"""Variable that forces a level, for measurements and tests."""
ATTACK = str(CHILD / "attack.py")
FIXES: Mapping[int, str] = {
    3: "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0; in a "
    "container a seccomp and AppArmor profile that lets unshare and mount through), with Linux 5.12 or newer",
    2: "use Linux 5.13 or newer with Landlock among its security modules (lsm=landlock,...)",
    1: "use Linux",
}
"""What to change where a level does not work."""
OUTSIDE = "move what it loads below its prefix or /usr, or do without a sandbox (--spip-sandbox=off)"
"""What to change where an interpreter does not start inside of the sandbox."""
SHORT = 60
"""Bytes of a path that leave room for a directory for attacks and a socket's name in it."""
ATTEMPTS = 2
"""How often an interpreter must fail to start before that is believed."""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def choose_sandbox(
    wish: str, *, network: bool = False, env: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Sandbox:
    """Return the sandbox as ``--spip-sandbox`` wishes: ``auto``, ``strict`` or ``off``.

    Raises ``UsageProblem`` where ``strict`` cannot be had, and for a variable that is to be passed on and is not set.
    """
    passed = tuple((name, _value(name, environ)) for name in env)
    if wish == "off":
        return Sandbox(0, network=network, passed=passed)
    forced = environ.get(FORCE, "")
    levels = (int(forced),) if forced in ("0", "1", "2", "3") else (3, 2, 1)
    whys: list[str] = []
    for level in levels:
        why = try_level(level, network=network)
        if not why:
            return Sandbox(level, "; ".join(whys), network=network, passed=passed)
        whys.append(f"level {level}: {why}")
        if wish == "strict":
            break
    if wish == "strict" or forced:
        raise UsageProblem("--spip-sandbox", whys[0], f"{FIXES.get(levels[0], FIXES[1])}, or use --spip-sandbox=auto")
    return Sandbox(1, "; ".join(whys), network=network, passed=passed)


def recorded_sandbox(
    level: int, *, network: bool, env: Sequence[str], environ: Mapping[str, str] = os.environ
) -> Sandbox:
    """Return the sandbox of a run that was recorded. Raises ``UsageProblem`` where this machine has none so strong."""
    passed = tuple((name, _value(name, environ)) for name in env)
    if why := try_level(level, network=network):
        raise UsageProblem("sandbox", f"the run had level {level}, and here that does not work ({why})", FIXES[level])
    return Sandbox(level, network=network, passed=passed)


def _value(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise UsageProblem("--spip-env", f"{name} is not set", "set it, or leave the option out")
    return environ[name]


def probe_prefix() -> str:
    """Return what the names of this process's directories for attacks begin with."""
    return f"spip-probe-{os.getpid()}-"


def probe_parent() -> str:
    """Return where the directories for attacks lie: paths of sockets have 108 bytes (unix(7)), and TMPDIR may have more.

    Were there no short place, the attack through a socket's path could not be made, and no level would be believed.
    """
    usual = tempfile.gettempdir()
    short = [path for path in (usual, "/tmp", "/var/tmp", "/dev/shm") if len(os.fsencode(path)) <= SHORT]  # noqa: S108
    return next((path for path in short if os.access(path, os.W_OK | os.X_OK)), usual)


def try_level(level: int, *, network: bool = False) -> str:
    """Attack from inside a sandbox of a level; say what went wrong with it, and nothing when it holds."""
    if level <= 1:
        return ""
    if not has_fork_servers():
        return f"{sys.platform} has no such thing"
    try:
        with tempfile.TemporaryDirectory(prefix=probe_prefix(), dir=probe_parent()) as directory:
            through = _attack(Path(directory), level, network=network)
    except (HarnessProblem, OSError, ValueError) as error:
        return str(error)
    return f"an attack got through ({', '.join(through)})" if through else ""


def try_interpreter(python: str, level: int, *, network: bool = False) -> str:
    """Return why an interpreter that starts outside of a sandbox does not start inside; nothing when it does.

    Nothing but the harness runs there, so no package has a part in the answer.
    """
    if level <= 1 or not has_fork_servers():
        return ""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            with tempfile.TemporaryDirectory(prefix=probe_prefix(), dir=probe_parent()) as directory:
                why = _start(Path(directory), python, level, network=network)
        except SandboxProblem as error:
            why = str(error)
        except (HarnessProblem, OSError):
            return ""  # a fault of the moment: combinations have their own attempts
        if not why:
            break
    return why


def _start(directory: Path, python: str, level: int, *, network: bool) -> str:
    """Start an interpreter as checks are started cold; return its last line where it fails."""
    setup = _prepared(directory, level, network=network)
    job = CommandJob(
        cwd=f"{setup.prefix}/work",
        limits=Limits(timeout=20.0),
        layers=("one",) if setup.layers else (),
        command=(python, "-I", "-S", "-B", "-c", "pass"),
        variables=_ENVIRONMENT,
    )
    with contextlib.closing(ForkServer(python, setup)) as server:
        ended = server.run(job)
    if ended.cut or ended.status == 0:
        return ""
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    return lines[-1][:500] if lines else f"exit status {ended.status}, without a word"


def _prepared(directory: Path, level: int, *, network: bool) -> Setup:
    """Make an environment in small below a directory, and return what a fork server needs to know of it."""
    for name in ("view", "prefix/home", "prefix/tmp", "prefix/work", "layers/one", "outside"):
        (directory / name).mkdir(parents=True)
    prefix = directory / "prefix"
    layers = str(directory / "layers") if level >= 3 else ""
    view = str(directory / "view")
    setup = Setup(level, view, _ENVIRONMENT, prefix=str(prefix), layers=layers, network=network, bare=True)
    for path in (directory, *directory.rglob("*")) if setup.sandbox_uid else ():
        path.chmod(0o755)
    return setup


def _attack(directory: Path, level: int, *, network: bool) -> list[str]:
    """Return the names of the attacks that got through."""
    setup = _prepared(directory, level, network=network)
    prefix, layers = Path(setup.prefix), setup.layers
    layered = directory / "layers" / "one" / "layered"
    layered.write_text("seen", "utf-8")
    layered.chmod(0o644)
    (directory / "outside" / "canary").write_text("seen", "utf-8")
    # The programs of a virtual environment, which may lie in somebody's home, are not there: what they lead to is.
    python = os.path.realpath(sys.executable)
    with _listeners(directory) as places, contextlib.closing(ForkServer(python, setup)) as server:
        asked = [str(directory / "outside"), str(prefix), str(os.getpid()), *([] if network else places)]
        command = (python, "-I", "-S", "-B", ATTACK, *asked)
        job = CommandJob(
            cwd=str(prefix / "work"),
            limits=Limits(timeout=20.0),
            layers=("one",) if layers else (),
            command=command,
            variables=_ENVIRONMENT,
        )
        ended = server.run(job)
    through: list[str] = json.loads(ended.output)
    if layers:
        through = [one for one in through if one != "layer"] if "layer" in through else [*through, "no layers"]
    return through


@contextlib.contextmanager
def _listeners(directory: Path) -> Iterator[list[str]]:
    """Yield the places of sockets that listen: a port, an abstract name, a path."""
    path = str(directory / "outside" / "socket")
    abstract = f"spip-probe-{os.getpid()}-{directory.name}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as filed:
        tcp.bind(("127.0.0.1", 0))
        named.bind(f"\0{abstract}")
        filed.bind(path)
        for one in (tcp, named, filed):
            one.listen()
        yield [str(tcp.getsockname()[1]), abstract, path]
