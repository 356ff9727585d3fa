"""What a fork server shows: a root with the system, the interpreter and the environment, and nothing of any user's.

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7.
"""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.protocol import SetupMessage

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
HERE = os.path.dirname(os.path.abspath(__file__))
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class View:
    """Makes the root that all children of a server see; ``setup`` is described in sandbox.py."""

    def __init__(self, setup: "SetupMessage") -> None:
        self.setup = setup
        self.sandbox_uid = setup["sandbox_uid"]

    def build(self) -> None:
        """Make a root that shows the system, the interpreter and the environment, and nothing else."""
        view, setup = self.setup["view"], self.setup
        KERNEL.mount(None, "/", None, KERNEL.MS_REC | KERNEL.MS_PRIVATE)
        KERNEL.mount("tmpfs", view, "tmpfs", KERNEL.MS_NOSUID | KERNEL.MS_NODEV, "size=16m,mode=755")
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
                KERNEL.mount(source, os.path.join(hidden, name), None, KERNEL.MS_BIND | KERNEL.MS_REC)
                KERNEL.seal(os.path.join(hidden, name))
        os.chmod(hidden, 0)
        os.chdir(view)
        KERNEL.pivot_root()
        write("/proc/sys/user/max_user_namespaces", "0")  # who makes a namespace has capabilities there
        KERNEL.mount(
            None, "/", None, KERNEL.MS_REMOUNT | KERNEL.MS_BIND | KERNEL.MS_RDONLY | KERNEL.MS_NOSUID | KERNEL.MS_NODEV
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
        KERNEL.mount(path, target, None, KERNEL.MS_BIND | KERNEL.MS_REC)
        if not writable:
            KERNEL.seal(target)

    def lend(self, path: str, target: str) -> None:
        """Copy our own modules into the view: root may have installed them for nobody else."""
        os.makedirs(target)
        for name in os.listdir(path):
            if name.endswith(".py"):
                with open(os.path.join(path, name), encoding="utf-8") as stream:
                    write(os.path.join(target, name), stream.read())

    def furnish(self, view: str) -> None:
        """Add what a system has and no user's: /proc of this namespace, a few devices, one user."""
        for name in ("proc", "dev/pts", "dev/shm", "etc", "tmp", "var", "run", "root", HOME[1:], SOURCES[1:]):
            os.makedirs(os.path.join(view, name), exist_ok=True)
        KERNEL.mount("proc", view + "/proc", "proc", KERNEL.MS_NOSUID | KERNEL.MS_NODEV | KERNEL.MS_NOEXEC)
        for path in ["/dev/" + name for name in DEVICES] + self.setup["devices"]:
            self.show_device(path)
        KERNEL.mount(
            "devpts",
            view + "/dev/pts",
            "devpts",
            KERNEL.MS_NOSUID | KERNEL.MS_NOEXEC,
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
        write(view + "/etc/passwd", "\n".join(accounts) + "\n")
        write(view + "/etc/group", "\n".join(groups) + "\n")
        host = os.uname().nodename
        write(view + "/etc/hostname", host + "\n")
        write(view + "/etc/machine-id", MACHINE_ID)
        if not self.setup["network"]:
            own = " ".join(dict.fromkeys((host, host.partition(".")[0])))
            local = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
            write(view + "/etc/hosts", "%s127.0.0.1 %s\n" % (local, own))

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
        KERNEL.mount(path, target, None, KERNEL.MS_BIND)


def write(path: str, text: str) -> None:
    """Write a small file, without what the text layer would wake in a fork."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def raise_loopback() -> None:
    """Have a network of one's own: programs that talk to themselves may (netdevice(7))."""
    import _socket
    import fcntl

    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    finally:
        control.close()
