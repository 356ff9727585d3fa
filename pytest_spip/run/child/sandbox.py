"""What package code may see and do: namespaces, a private view of the system, capabilities, Landlock, limits.

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7. A sandbox is set up once for a fork server
(``enter``) and closed around each of its children (``compose``, ``confine``). ``setup`` is the server's, with the fields

    level     3 namespaces, 2 Landlock and a filter for system calls, 1 limits alone
    view      an empty directory to build the view in
    read      paths that can be read, beside the system's; they keep their names
    write     paths that can be written as well
    devices   device files that can be used, beside those that every program needs
    prefix    the environment's directory, or nothing
    layers    the directory of the layers that environments are composed of, or nothing
    own       below level 3, the directory that a combination has to itself, or nothing
    sandbox_uid  the uid and gid that package code gets where we are root, whose files it must not own; 0 elsewhere
    network   whether it may use the network
    size      bytes that an environment may hold
    processes processes and threads that there may be at once
"""

import ctypes
import errno
import os
import resource
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import NoReturn

    from pytest_spip.run.child import seccomp as SECCOMP
    from pytest_spip.run.protocol import LayMessage, RequestMessage, SetupMessage, StayMessage


SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys/devices/system")
CONFIGURATION = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "issue",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ldap/ldap.conf",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "pki",
    "protocols",
    "rpc",
    "services",
    "shells",
    "ssl",
    "terminfo",
    "timezone",
]
"""What below /etc says to programs how the machine is set up and nothing of its users."""
NETWORK = ("resolv.conf", "hosts")
ACCOUNTS = (("daemon", 1), ("bin", 2), ("sys", 3), ("nobody", 65534))
GROUPS = (("daemon", 1), ("bin", 2), ("sys", 3), ("adm", 4), ("tty", 5), ("users", 100), ("nogroup", 65534))
"""Names that every system has, of owners of its files and of those whom a namespace does not know."""
MACHINE_ID = "6f1d0c5e3b7a4c2d9e8f7a6b5c4d3e2f\n"
"""Nobody's: the user's says who it is."""
DEVICES = ("null", "zero", "full", "random", "urandom")
HIDDEN = "/.spip"
"""Holds layers and upper layers. Nobody without capabilities enters it, and on a read-only root nobody can change that."""
HOME, SOURCES = "/home/user", "/src"
SCRATCH = (("/tmp", "ram/tmp"), ("/dev/shm", "ram/shm"), (HOME, "ram/home"))
"""Directories that every child has to itself, and where they lie. So is ``SOURCES``, where trees may lie below."""
INODES_PER_MIB = 256
MAPPING = 20.0
"""Seconds within which the users of a namespace are mapped."""
O_PATH = getattr(os, "O_PATH", 0o10000000)
"""PyPy does not name it (open(2))."""
HERE = os.path.dirname(os.path.abspath(__file__))
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class Sandbox:
    """One fork server's sandbox. ``kernel`` and ``seccomp`` are the modules beside this one."""

    def __init__(self, setup: "SetupMessage", kernel: "ModuleType", seccomp: "ModuleType") -> None:
        self.setup = setup
        self.level = setup["level"]
        self.sandbox_uid = setup["sandbox_uid"]
        self.kernel = kernel
        self.ruleset = -1
        self.bare = -1
        self.stays = False
        self.added: "list[str]" = []
        self.filter: "SECCOMP.Filter | None" = None
        self.device_groups = groups_of(setup["devices"]) if self.sandbox_uid else []
        if self.level >= 2:
            self.filter = seccomp.compiled(kernel.MACHINE, self.level >= 3 or setup["network"])

    # -- once ----------------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Go where children will be born. On level 3 this returns in the first process of a new pid namespace."""
        os.umask(0o022)  # the view is for package code's user as well, and a verdict depends on nobody's habits
        if self.level >= 3:
            self.leave_namespaces()
            self.become_first()
            self.build_view()
            self.kernel.prctl(self.kernel.PR_SET_DUMPABLE, 0)
            self.kernel.drop_bounds()
        else:
            self.kernel.prctl(self.kernel.PR_SET_CHILD_SUBREAPER, 1)
        if self.level == 2:
            self.ruleset = landlock_ruleset(self.kernel, self.setup)
            self.kernel.drop_bounds()

    def leave_namespaces(self) -> None:
        """Leave all namespaces for new ones. Who maps users must stay outside: a helper does."""
        kernel = self.kernel
        flags = (
            kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID
        )
        reading, writing = os.pipe()
        owner, me = (os.getuid(), os.getgid()), os.getpid()
        helper = os.fork()
        if helper == 0:
            os.close(writing)  # or it would wait for itself when nobody else has that end any more
            map_when_asked(reading, me, owner, self.sandbox_uid, self.device_groups)
        os.close(reading)
        try:
            kernel.unshare(flags | (0 if self.setup["network"] else kernel.CLONE_NEWNET))
            os.write(writing, b"!")
        except OSError as error:
            # Where a sysctl allows none, that is "no space left on device" (unshare(2)).
            why = "none are allowed" if error.errno == errno.ENOSPC else error.strerror
            raise OSError(error.errno, why, "user namespaces") from None
        finally:
            os.close(writing)
            status = kernel.wait_for_end(helper, MAPPING, "mapping users")
        if status:
            number = os.WEXITSTATUS(status)
            raise OSError(number, os.strerror(number), "mapping users")

    def become_first(self) -> None:
        """Fork into the pid namespace, whose first process takes all others with it when it ends; wait for it outside."""
        first = os.fork()
        if first:
            # A server that is stopped does not hear the worker hang up. Nothing else may stay when that one is killed.
            self.kernel.prctl(self.kernel.PR_SET_PDEATHSIG, 9)
            _, status = os.waitpid(first, 0)
            os._exit(0 if status == 0 else 1)
        self.kernel.prctl(self.kernel.PR_SET_PDEATHSIG, 9)
        if self.sandbox_uid:
            os.setgroups(self.device_groups)

    def build_view(self) -> None:
        """Make a root that shows the system, the interpreter and the environment, and nothing else."""
        kernel, view, setup = self.kernel, self.setup["view"], self.setup
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("tmpfs", view, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=16m,mode=755")
        names = [*CONFIGURATION, *(NETWORK if setup["network"] else ())]
        for path in [*SYSTEM, *("/etc/" + name for name in names), *setup["read"], setup["prefix"]]:
            self.show(path)
        for path in setup["write"]:
            self.show(path, writable=True)
        self.furnish(view)
        hidden = view + HIDDEN
        for name, source in (("ram", ""), ("l", setup["layers"]), ("base", setup["prefix"])):
            os.makedirs(os.path.join(hidden, name))
            if source:
                kernel.mount(source, os.path.join(hidden, name), None, kernel.MS_BIND | kernel.MS_REC)
                kernel.seal(os.path.join(hidden, name))
        os.chmod(hidden, 0)
        os.chdir(view)
        kernel.pivot_root()
        self.write("/proc/sys/user/max_user_namespaces", "0")  # who makes a namespace has capabilities there
        kernel.mount(
            None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        )
        if not setup["network"]:
            raise_loopback()

    def show(self, path: str, writable: bool = False) -> None:
        """Let a path appear in the view; a link is made anew, what is not there stays away."""
        target = self.setup["view"] + path
        if not os.path.lexists(path) or (os.path.lexists(target) and not os.path.isdir(path)):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            return
        if self.sandbox_uid and path == HERE and not os.stat(path).st_mode & 0o004:
            self.lend(path, target)
            return
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        self.kernel.mount(path, target, None, self.kernel.MS_BIND | self.kernel.MS_REC)
        if not writable:
            self.kernel.seal(target)

    def lend(self, path: str, target: str) -> None:
        """Copy our own modules into the view: root may have installed them for nobody else."""
        os.makedirs(target)
        for name in os.listdir(path):
            if name.endswith(".py"):
                with open(os.path.join(path, name), encoding="utf-8") as stream:
                    self.write(os.path.join(target, name), stream.read())

    def furnish(self, view: str) -> None:
        """Add what a system has and no user's: /proc of this namespace, a few devices, one user."""
        kernel = self.kernel
        for name in ("proc", "dev/pts", "dev/shm", "etc", "tmp", "var", "run", "root", HOME[1:], SOURCES[1:]):
            os.makedirs(os.path.join(view, name), exist_ok=True)
        kernel.mount("proc", view + "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        for path in ["/dev/" + name for name in DEVICES] + self.setup["devices"]:
            self.show_device(path)
        kernel.mount(
            "devpts",
            view + "/dev/pts",
            "devpts",
            kernel.MS_NOSUID | kernel.MS_NOEXEC,
            "newinstance,ptmxmode=0666,mode=620",
        )
        links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
        for name, target in links.items():
            os.symlink(target, view + "/dev/" + name)
        os.symlink("/tmp", view + "/var/tmp")
        user = self.sandbox_uid or os.getuid()
        group = self.sandbox_uid or os.getgid()
        accounts = ["root:x:0:0:root:/root:/bin/sh", "user:x:%d:%d:user:%s:/bin/sh" % (user, group, HOME)]
        accounts += ["%s:x:%d:%d:%s:/nonexistent:/usr/sbin/nologin" % (name, uid, uid, name) for name, uid in ACCOUNTS]
        groups = ["root:x:0:", "user:x:%d:" % group, *("%s:x:%d:" % pair for pair in GROUPS)]
        self.write(view + "/etc/passwd", "\n".join(accounts) + "\n")
        self.write(view + "/etc/group", "\n".join(groups) + "\n")
        host = os.uname().nodename
        self.write(view + "/etc/hostname", host + "\n")
        self.write(view + "/etc/machine-id", MACHINE_ID)
        if not self.setup["network"]:
            own = " ".join(dict.fromkeys((host, host.partition(".")[0])))
            local = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
            self.write(view + "/etc/hosts", "%s127.0.0.1 %s\n" % (local, own))

    def show_device(self, path: str) -> None:
        """Let a device file appear in the view; a link leads to the file itself, which is named beside it."""
        target = self.setup["view"] + path
        if os.path.lexists(target):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.path.realpath(path), target)
            return
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o666))
        self.kernel.mount(path, target, None, self.kernel.MS_BIND)

    @staticmethod
    def write(path: str, text: str) -> None:
        """Write a small file, without what the text layer would wake in a fork."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    # -- for every child -------------------------------------------------------------------------------------------------

    def compose(self, wanted: "RequestMessage | StayMessage") -> None:
        """Lay an environment over the worktree, in a mount namespace of the child's own; all of it ends with the child."""
        self.kernel.unshare(self.kernel.CLONE_NEWNS | self.kernel.CLONE_NEWIPC)
        self.lay(wanted, copies=bool(wanted.get("command")) and not wanted.get("begins"))

    def lay(self, wanted: "LayMessage", copies: bool = False) -> None:
        """Lay an environment over the worktree, in the mount namespace where we are.

        ``layers`` and ``trees`` are names below the directory of layers, the uppermost first; ``scripts`` pairs of path and
        text; ``cwd`` is made where it lies in ``SOURCES``. ``copies`` has trees copied: an overlay is no plain file system.
        """
        kernel, prefix = self.kernel, self.setup["prefix"]
        size = self.setup["size"]
        room = "size=%d,nr_inodes=%d,mode=755" % (size, max(4096, (size >> 20) * INODES_PER_MIB))
        os.chdir(HIDDEN)
        kernel.mount("tmpfs", "ram", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, room)
        for name in ("w", "u", "tmp", "shm", "home", "s", "sw"):
            os.mkdir("ram/" + name, 0o700)
            self.hand_over("ram/" + name)
        covered = [(path, os.open(path, O_PATH)) for path in self.shown_in_scratch()]
        for target, source in SCRATCH:
            kernel.mount(source, target, None, kernel.MS_BIND)
        self.lay_sources(wanted["trees"], wanted["cwd"], copies)
        if prefix.startswith(tuple(target + "/" for target in self.places())):  # which is now out of sight
            os.makedirs(prefix)
        for path, descriptor in covered:
            self.show_again(path, descriptor)
        if prefix:
            for path, text in wanted["scripts"]:
                self.add_script("ram/u/" + path, text)
            self.lay_over(wanted["layers"])

    def lay_sources(self, trees: "Sequence[str]", cwd: str, copies: bool) -> None:
        """Mount the layers of trees, and what is written over them, where sources are. The working directory is ``HIDDEN``."""
        if trees and not (copies and self.copy_trees(trees)):
            lower = ":".join("l/" + name for name in trees)
            self.kernel.mount(
                "overlay", SOURCES, "overlay", 0, "userxattr,upperdir=ram/s,workdir=ram/sw,lowerdir=" + lower
            )
        else:
            self.kernel.mount("ram/s", SOURCES, None, self.kernel.MS_BIND)
        if cwd.startswith(SOURCES + "/") and not os.path.isdir(cwd):
            self.make_directories(cwd)

    def copy_trees(self, trees: "Sequence[str]") -> bool:
        """Copy trees to where sources are written, the lowest first; return whether there was room for all of them.

        On an overlay a file's link has another inode than the file, and a directory of a layer cannot be renamed (Linux,
        filesystems/overlayfs). A warm child works on one all the same: what fails there is confirmed on a copy.
        """
        import shutil

        try:
            for name in reversed(trees):
                shutil.copytree("l/" + name, "ram/s", symlinks=True, copy_function=self.copy, dirs_exist_ok=True)
        except (OSError, TypeError):  # a TypeError before Python 3.8, whose copytree wants to make the directory
            shutil.rmtree("ram/s", ignore_errors=True)
            os.makedirs("ram/s", 0o700, exist_ok=True)
            self.hand_over("ram/s")
            return False
        for directory, _, _ in os.walk("ram/s"):
            self.hand_over(directory)
        return True

    def copy(self, source: str, target: str) -> None:
        """Copy a file, with its times and mode, for the one that package code runs as."""
        import shutil

        shutil.copy2(source, target, follow_symlinks=False)
        if self.sandbox_uid:
            os.chown(target, self.sandbox_uid, self.sandbox_uid, follow_symlinks=False)

    @staticmethod
    def places() -> "tuple[str, ...]":
        """Return the directories that every child has to itself."""
        return (*(target for target, _ in SCRATCH), SOURCES)

    def lay_over(self, layers: "Sequence[str]") -> None:
        """Mount layers, and what is written over them, at the prefix. The working directory is ``HIDDEN``."""
        lower = ":".join([*self.added, *("l/" + name for name in layers), "base"])
        options = "userxattr,upperdir=ram/u,workdir=ram/w,lowerdir=" + lower
        self.kernel.mount("overlay", self.setup["prefix"], "overlay", 0, options)

    def stay(self, wanted: "StayMessage") -> None:
        """Compose an environment that several children work in; where it is not ``fresh``, add layers to the one that stays.

        Nothing runs in it meanwhile, so its upper layer can be laid over others (overlayfs, "Changes to underlying filesystems").
        Added scripts lie in a layer below that one: package code may have laid links where we would write.
        """
        if wanted["fresh"]:
            self.leave()
            self.bare = os.open("/proc/self/ns/mnt", os.O_RDONLY)
            self.stays = True
            self.compose(wanted)
        else:
            os.chdir(HIDDEN)
            place = "ram/s%d" % len(self.added)
            os.mkdir(place, 0o755)
            self.hand_over(place)
            for path, text in wanted["scripts"]:
                self.add_script(place + "/" + path, text)
            self.added.insert(0, place)
            self.kernel.umount(self.setup["prefix"])
            self.lay_over(wanted["layers"])
        os.chdir("/")

    def leave(self) -> None:
        """Go back to where nothing was composed: with its last process a mount namespace ends, and all that was written there."""
        if self.stays:
            self.kernel.setns(self.bare, self.kernel.CLONE_NEWNS)
            os.close(self.bare)
            self.bare, self.stays, self.added = -1, False, []

    def lift(self) -> None:
        """Take away what :meth:`lay` laid."""
        for target in (self.setup["prefix"], *self.places(), HIDDEN + "/ram"):
            self.kernel.umount(target)

    def shown_in_scratch(self) -> "list[str]":
        """Return what can be read and written of the places that a child's own scratch directories cover."""
        shown = self.setup["read"] + self.setup["write"]
        covering = tuple(place + "/" for place in self.places())
        return [path for path in shown if path.startswith(covering) and os.path.exists(path)]

    def show_again(self, path: str, descriptor: int) -> None:
        """Let a path appear over the scratch directory that covers it, as writable as it was."""
        source = "/proc/self/fd/%d" % descriptor
        if not os.path.isdir(source):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o644))
        else:
            os.makedirs(path, exist_ok=True)
        self.kernel.mount(source, path, None, self.kernel.MS_BIND | self.kernel.MS_REC)
        os.close(descriptor)

    def add_script(self, path: str, text: str) -> None:
        """Write a script, and the directories above it, into the upper layer."""
        self.make_directories(os.path.dirname(path))
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
        os.chmod(path, 0o755)
        self.hand_over(path)

    def make_directories(self, path: str) -> None:
        """Make a directory of the child's, and those above it that are missing."""
        missing: "list[str]" = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            os.mkdir(directory, 0o755)
            self.hand_over(directory)

    def hand_over(self, path: str) -> None:
        """Give a path to the one that package code runs as."""
        if self.sandbox_uid:
            os.chown(path, self.sandbox_uid, self.sandbox_uid)

    def confine(self) -> None:
        """Give up every right that package code must not have."""
        kernel = self.kernel
        if self.level >= 3 and self.sandbox_uid:
            os.setresgid(self.sandbox_uid, self.sandbox_uid, self.sandbox_uid)
            os.setresuid(self.sandbox_uid, self.sandbox_uid, self.sandbox_uid)
        if self.level >= 2:
            kernel.drop_capabilities()
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)  # a change of user clears it
        if self.level >= 3:
            limit_to(resource.RLIMIT_NPROC, self.setup["processes"])
        if self.bare >= 0:
            os.close(self.bare)
        if self.ruleset >= 0:
            kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, self.ruleset, 0)
            os.close(self.ruleset)
        if self.filter is not None:
            kernel.prctl(kernel.PR_SET_SECCOMP, 2, kernel.address(self.filter))


def limit_to(what: int, most: int) -> None:
    """Lower a limit for good, if it is not lower already."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def limit(memory: int, file_size: int) -> None:
    """Bound data, file size and core dumps. RLIMIT_AS would punish those who only reserve addresses."""
    limit_to(resource.RLIMIT_DATA, memory)
    limit_to(resource.RLIMIT_FSIZE, file_size)
    limit_to(resource.RLIMIT_CORE, 0)


def groups_of(devices: "Sequence[str]") -> "list[int]":
    """Return the groups, but root's, to whose members device files are open: package code's user joins them where we are root."""
    states = [os.stat(path) for path in devices if os.path.exists(path)]
    return sorted({state.st_gid for state in states if state.st_gid and state.st_mode & 0o060 == 0o060})


def map_when_asked(
    reading: int, pid: int, owner: "tuple[int, int]", sandbox_uid: int, groups: "Sequence[int]"
) -> "NoReturn":
    """Write the maps when a byte comes, and end; end as well when none can come any more."""
    try:
        if os.read(reading, 1):
            map_ids(pid, owner, sandbox_uid, groups)
        os._exit(0)
    except OSError as error:
        os._exit(error.errno or 1)


def map_ids(pid: int, owner: "tuple[int, int]", sandbox_uid: int, groups: "Sequence[int]") -> None:
    """Write the maps of a user namespace: its owner, and beside root the sandbox uid and ``groups`` (user_namespaces(7))."""
    if not sandbox_uid:
        with open("/proc/%d/setgroups" % pid, "w") as stream:
            stream.write("deny")
    for name, number in zip(("uid_map", "gid_map"), owner):
        lines = ["%d %d 1" % (number, number)]
        if sandbox_uid:
            lines.append("%d %d 1" % (sandbox_uid, sandbox_uid))
        if name == "gid_map":
            lines += ["%d %d 1" % (group, group) for group in groups if group not in (number, sandbox_uid)]
        with open("/proc/%d/%s" % (pid, name), "w") as stream:
            stream.write("\n".join(lines) + "\n")


def raise_loopback() -> None:
    """Have a network of one's own: programs that talk to themselves may (netdevice(7))."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


# -- Landlock (landlock(7)) -------------------------------------------------------------------------------------------------

READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read directory
FILE_ONLY = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # what a rule on a file may allow
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights to files that a version of Landlock knows."""
SCOPES = 3  # abstract sockets and signals, from version 6


def landlock_version(kernel: "ModuleType") -> int:
    """Return the version of Landlock; raises ``OSError`` where there is none."""
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, ctypes.c_void_p(None), 0, 1)


def landlock_ruleset(kernel: "ModuleType", setup: "SetupMessage") -> int:
    """Return a ruleset that allows reading the system and writing the environment, and nothing else."""
    version = landlock_version(kernel)
    rights = RIGHTS[max(known for known in RIGHTS if known <= version)]
    attributes = (ctypes.c_uint64 * 3)(rights, 0, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, kernel.address(attributes), size, 0)
    names = [*CONFIGURATION, "passwd", "group", "hosts", "hostname", *(NETWORK if setup["network"] else ())]
    for path in [*SYSTEM, "/proc", *("/etc/" + name for name in names), *setup["read"]]:
        allow(kernel, ruleset, path, READ)
    writable = ["/dev/" + name for name in DEVICES] + setup["devices"] + setup["write"]
    writable += [path for path in (setup["prefix"], setup["own"]) if path]
    for path in writable:
        allow(kernel, ruleset, path, rights)
    return ruleset


def allow(kernel: "ModuleType", ruleset: int, path: str, rights: int) -> None:
    """Add a rule for a path and all below it; what is not there needs none."""
    try:
        descriptor = os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= FILE_ONLY
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
    kernel.syscall(kernel.LANDLOCK_ADD_RULE, ruleset, 1, kernel.address(rule), 0)
    os.close(descriptor)
