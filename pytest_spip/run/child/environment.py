"""The environment that a child works in: layers, trees and scratch directories, mounted over what the server shows.

Loaded by path, see forkserver.py; standard library only, syntax of Python 3.7. A mount namespace holds it, one of the child's own
or one that stays for several children, and all that was written there ends with that namespace.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_spip.run.child import kernel as KERNEL
    from pytest_spip.run.child import view as VIEW
    from pytest_spip.run.protocol import LayMessage, RequestMessage, SetupMessage, StayMessage

INODES_PER_MIB = 256


class MountedEnvironment:
    """Mounts the environments of one server's children; ``setup`` is described in sandbox.py."""

    def __init__(self, setup: "SetupMessage") -> None:
        self.setup = setup
        self.sandbox_uid = setup["sandbox_uid"]
        self.bare = -1
        self.stays = False
        self.added: "list[str]" = []
        self.room = self.making_room()

    def composing(self, wanted: "RequestMessage | StayMessage") -> "list[KERNEL.Call]":
        """Prepare to lay an environment over the worktree, in a mount namespace of one's own; all of it ends with that."""
        copies = bool(wanted.get("command")) and not wanted.get("begins")
        return [KERNEL.unsharing(KERNEL.CLONE_NEWNS | KERNEL.CLONE_NEWIPC), *self.laying(wanted, copies)]

    def lay(self, wanted: "LayMessage") -> None:
        """Lay an environment over the worktree, in the mount namespace where we are."""
        KERNEL.make(self.laying(wanted))

    def laying(self, wanted: "LayMessage", copies: bool = False) -> "list[KERNEL.Call]":
        """Prepare to lay an environment over the worktree.

        ``layers`` and ``trees`` are names below the directory of layers, the uppermost first; ``scripts`` pairs of path and
        text; ``cwd`` is made where it lies in ``SOURCES``. ``copies`` has trees copied: an overlay is no plain file system.
        """
        prefix, calls = self.setup["prefix"], list(self.room)
        covering: "list[tuple[str, int]]" = []
        covered = self.shown_in_scratch()
        if covered:
            calls.append((keep_open, (covered, covering), ""))
        calls += [KERNEL.mounting(source, target, None, KERNEL.MS_BIND) for target, source in VIEW.SCRATCH]
        if wanted["trees"]:
            calls.append((self.lay_sources, (wanted["trees"], wanted["cwd"], copies), ""))
        else:
            calls.append(KERNEL.mounting("ram/s", VIEW.SOURCES, None, KERNEL.MS_BIND))
            calls += self.making(VIEW.SOURCES, wanted["cwd"], 0o755)
        for target in places():  # where it is now out of sight
            calls += [call for call in self.making(target, prefix, 0o777) if call[0] is os.mkdir]
        if covered:
            calls.append((self.show_again, (covering,), ""))
        if prefix:
            calls += [(self.add_script, ("ram/u/" + path, text), "") for path, text in wanted["scripts"]]
            calls.append(self.laying_over(wanted["layers"]))
        return calls

    def making_room(self) -> "list[KERNEL.Call]":
        """Prepare what all environments begin with: a tmpfs for all that is written. The working directory is ``HIDDEN`` then."""
        size = self.setup["size"]
        room = "size=%d,nr_inodes=%d,mode=755" % (size, max(4096, (size >> 20) * INODES_PER_MIB))
        calls: "list[KERNEL.Call]" = [
            (os.chdir, (VIEW.HIDDEN,), ""),
            KERNEL.mounting("tmpfs", "ram", "tmpfs", KERNEL.MS_NOSUID | KERNEL.MS_NODEV, room),
        ]
        for name in ("w", "u", "tmp", "shm", "home", "s", "sw"):
            calls.append((os.mkdir, ("ram/" + name, 0o700), ""))
            calls += self.handing_over("ram/" + name)
        return calls

    def making(self, top: str, path: str, mode: int) -> "list[KERNEL.Call]":
        """Prepare to make a directory, and those above it, below one that is empty; nothing for a directory elsewhere."""
        calls: "list[KERNEL.Call]" = []
        for name in path[len(top) :].split("/") if path.startswith(top + "/") else ():
            top += "/" + name if name else ""
            if name:
                calls.append((os.mkdir, (top, mode), ""))
                calls += self.handing_over(top)
        return calls

    def lay_sources(self, trees: "Sequence[str]", cwd: str, copies: bool) -> None:
        """Mount the layers of trees, and what is written over them, where sources are. The working directory is ``HIDDEN``."""
        if not (copies and self.copy_trees(trees)):
            lower = ":".join("l/" + name for name in trees)
            KERNEL.mount(
                "overlay", VIEW.SOURCES, "overlay", 0, "userxattr,upperdir=ram/s,workdir=ram/sw,lowerdir=" + lower
            )
        else:
            KERNEL.mount("ram/s", VIEW.SOURCES, None, KERNEL.MS_BIND)
        if cwd.startswith(VIEW.SOURCES + "/") and not os.path.isdir(cwd):
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

    def laying_over(self, layers: "Sequence[str]") -> "KERNEL.Call":
        """Prepare to mount layers, and what is written over them, at the prefix. The working directory is ``HIDDEN``."""
        lower = ":".join([*self.added, *("l/" + name for name in layers), "base"])
        options = "userxattr,upperdir=ram/u,workdir=ram/w,lowerdir=" + lower
        return KERNEL.mounting("overlay", self.setup["prefix"], "overlay", 0, options)

    def stay(self, wanted: "StayMessage") -> None:
        """Compose an environment that several children work in; where it is not ``fresh``, add layers to the one that stays.

        Nothing runs in it meanwhile, so its upper layer can be laid over others (overlayfs, "Changes to underlying filesystems").
        Added scripts lie in a layer below that one: package code may have laid links where we would write.
        """
        if wanted["fresh"]:
            self.leave()
            self.bare = os.open("/proc/self/ns/mnt", os.O_RDONLY)
            self.stays = True
            KERNEL.make(self.composing(wanted))
        else:
            os.chdir(VIEW.HIDDEN)
            place = "ram/s%d" % len(self.added)
            os.mkdir(place, 0o755)
            self.hand_over(place)
            for path, text in wanted["scripts"]:
                self.add_script(place + "/" + path, text)
            self.added.insert(0, place)
            KERNEL.umount(self.setup["prefix"])
            KERNEL.make((self.laying_over(wanted["layers"]),))
        os.chdir("/")

    def leave(self) -> None:
        """Go back to where nothing was composed: with its last process a mount namespace ends, and all that was written there."""
        if self.stays:
            KERNEL.setns(self.bare, KERNEL.CLONE_NEWNS)
            os.close(self.bare)
            self.bare, self.stays, self.added = -1, False, []

    def closing(self) -> "list[KERNEL.Call]":
        """Prepare to keep no way back: for a child."""
        return [(os.close, (self.bare,), "")] if self.bare >= 0 else []

    def lift(self) -> None:
        """Take away what :meth:`lay` laid."""
        for target in (self.setup["prefix"], *places(), VIEW.HIDDEN + "/ram"):
            KERNEL.umount(target)

    def shown_in_scratch(self) -> "list[str]":
        """Return what can be read and written of the places that a child's own scratch directories cover."""
        shown = self.setup["read"] + self.setup["write"]
        covering = tuple(place + "/" for place in places())
        return [path for path in shown if path.startswith(covering) and os.path.exists(path)]

    def show_again(self, covering: "Iterable[tuple[str, int]]") -> None:
        """Let paths appear over the scratch directories that cover them, as writable as they were."""
        for path, descriptor in covering:
            source = "/proc/self/fd/%d" % descriptor
            if not os.path.isdir(source):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o644))
            else:
                os.makedirs(path, exist_ok=True)
            KERNEL.mount(source, path, None, KERNEL.MS_BIND | KERNEL.MS_REC)
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
        KERNEL.make(self.handing_over(path))

    def handing_over(self, path: str) -> "list[KERNEL.Call]":
        """Prepare to give a path to the one that package code runs as."""
        return [(os.chown, (path, self.sandbox_uid, self.sandbox_uid), "")] if self.sandbox_uid else []


def keep_open(paths: "Sequence[str]", kept: "list[tuple[str, int]]") -> None:
    """Keep what is about to be covered."""
    kept += [(path, os.open(path, KERNEL.O_PATH)) for path in paths]


def places() -> "tuple[str, ...]":
    """Return the directories that every child has to itself."""
    return (*(target for target, _ in VIEW.SCRATCH), VIEW.SOURCES)
