"""What package code may see and do: namespaces, a private view of the system, capabilities, Landlock, limits.

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7. A sandbox is set up once for a fork server
(``enter``) and closed around each of its children (``environment.composing``, ``confining``). ``setup`` is the server's; its
fields are

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

import errno
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from pytest_spip.run.child import environment as ENVIRONMENT
    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import landlock as LANDLOCK
    from pytest_spip.run.child import seccomp as SECCOMP
    from pytest_spip.run.child import view as VIEW
    from pytest_spip.run.protocol import SetupMessage

MAPPING = 20.0
"""Seconds within which the users of a namespace are mapped."""


class Sandbox:
    """One fork server's sandbox."""

    def __init__(self, setup: "SetupMessage") -> None:
        self.setup = setup
        self.level = setup["level"]
        self.sandbox_uid = setup["sandbox_uid"]
        self.environment = ENVIRONMENT.MountedEnvironment(setup)
        self.ruleset = -1
        self.filter: "SECCOMP.Filter | None" = None
        self.device_groups = groups_of(setup["devices"]) if self.sandbox_uid else []
        if self.level >= 2:
            self.filter = SECCOMP.compiled(KERNEL.MACHINE, self.level >= 3 or setup["network"])

    def enter(self) -> None:
        """Go where children will be born. On level 3 this returns in the first process of a new pid namespace."""
        os.umask(0o022)  # the view is for package code's user as well, and a verdict depends on nobody's habits
        if self.level >= 3:
            self.leave_namespaces()
            self.become_first()
            VIEW.View(self.setup).build()
            KERNEL.prctl(KERNEL.PR_SET_DUMPABLE, 0)
            KERNEL.drop_bounds()
        else:
            KERNEL.prctl(KERNEL.PR_SET_CHILD_SUBREAPER, 1)
        if self.level == 2:
            self.ruleset = LANDLOCK.ruleset(self.setup)
            KERNEL.drop_bounds()

    def leave_namespaces(self) -> None:
        """Leave all namespaces for new ones. Who maps users must stay outside: a helper does."""
        flags = (
            KERNEL.CLONE_NEWUSER | KERNEL.CLONE_NEWNS | KERNEL.CLONE_NEWIPC | KERNEL.CLONE_NEWUTS | KERNEL.CLONE_NEWPID
        )
        reading, writing = os.pipe()
        owner, me = (os.getuid(), os.getgid()), os.getpid()
        helper = os.fork()
        if helper == 0:
            os.close(writing)  # or it would wait for itself when nobody else has that end any more
            map_when_asked(reading, me, owner, self.sandbox_uid, self.device_groups)
        os.close(reading)
        try:
            KERNEL.unshare(flags | (0 if self.setup["network"] else KERNEL.CLONE_NEWNET))
            os.write(writing, b"!")
        except OSError as error:
            # Where a sysctl allows none, that is "no space left on device" (unshare(2)).
            why = "none are allowed" if error.errno == errno.ENOSPC else error.strerror
            raise OSError(error.errno, why, "user namespaces") from None
        finally:
            os.close(writing)
            status = KERNEL.wait_for_end(helper, MAPPING, "mapping users")
        if status:
            number = os.WEXITSTATUS(status)
            raise OSError(number, os.strerror(number), "mapping users")

    def become_first(self) -> None:
        """Fork into the pid namespace, whose first process takes all others with it when it ends; wait for it outside."""
        first = os.fork()
        if first:
            # A server that is stopped does not hear the worker hang up. Nothing else may stay when that one is killed.
            KERNEL.prctl(KERNEL.PR_SET_PDEATHSIG, 9)
            _, status = os.waitpid(first, 0)
            os._exit(0 if status == 0 else 1)
        KERNEL.prctl(KERNEL.PR_SET_PDEATHSIG, 9)
        if self.sandbox_uid:
            os.setgroups(self.device_groups)

    def confining(self) -> "list[KERNEL.Call]":
        """Prepare to give up every right that package code must not have."""
        calls: "list[KERNEL.Call]" = []
        if self.level >= 3 and self.sandbox_uid:
            calls.append((os.setresgid, (self.sandbox_uid,) * 3, ""))
            calls.append((os.setresuid, (self.sandbox_uid,) * 3, ""))
        if self.level >= 2:
            calls.append(KERNEL.dropping_capabilities())
            calls.append(KERNEL.changing(KERNEL.PR_SET_NO_NEW_PRIVS, 1))
            calls.append(KERNEL.changing(KERNEL.PR_SET_DUMPABLE, 1))
        calls.append(KERNEL.changing(KERNEL.PR_SET_PDEATHSIG, 9))  # a change of user clears it
        if self.level >= 3:
            calls.append(limiting(resource.RLIMIT_NPROC, self.setup["processes"]))
        calls += self.environment.closing()
        if self.ruleset >= 0:
            calls.append(KERNEL.calling(KERNEL.LANDLOCK_RESTRICT_SELF, self.ruleset, 0))
            calls.append((os.close, (self.ruleset,), ""))
        if self.filter is not None:
            calls.append(KERNEL.changing(KERNEL.PR_SET_SECCOMP, 2, KERNEL.address(self.filter)))
        return calls


def limiting(what: int, most: int) -> "KERNEL.Call":
    """Prepare to lower a limit for good, if it is not lower already; whoever makes the call has our limits."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    return resource.setrlimit, (what, (most, most)), ""


def bounding(memory: int, file_size: int) -> "list[KERNEL.Call]":
    """Prepare to bound data, file size and core dumps. RLIMIT_AS would punish those who only reserve addresses."""
    bounds = (resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_CORE, 0)
    return [limiting(what, most) for what, most in bounds]


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
