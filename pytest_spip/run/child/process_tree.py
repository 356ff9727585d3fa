"""A child's family: the processes below a fork server, what they use, and their end. Loaded by path, see forkserver.py."""

import _signal  # type: ignore[import-not-found]  # signal imports enum
import os

MANY = 256
"""A child that has so many processes has too many."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
SPARED: "set[int]" = set()
"""Children of the server that outlive its other children and are not counted with them: see zygotes.py."""


def kill(pid: int) -> None:
    """Kill, if there is anybody."""
    try:
        os.kill(pid, _signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def kill_below(but: int = 0) -> None:
    """Kill and reap all children but one, and the orphans that become ours by that."""
    for _ in range(100):  # a daemon may fork faster than we look
        rest = [pid for pid in children(os.getpid()) if pid != but]
        for pid in rest:
            kill(pid)
        for pid in rest:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        if not rest:
            return


def reap() -> None:
    """Wait for all children, which were killed; their orphans are ours before they are reaped themselves."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children(pid: int) -> "list[int]":
    """Return a process's children; orphans are ours, for we are their reaper.

    Each of its threads has those that it forked itself (proc_pid_task(5)), and packages fork in threads, too.
    """
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:  # it has ended
        return []
    return [int(word) for thread in threads for word in words_of(pid, "task/%s/children" % thread)]


def descendants(pid: int) -> "list[int]":
    """Return all processes below one."""
    found: "list[int]" = []
    waiting = [pid]
    while waiting and len(found) <= MANY:
        below = [child for child in children(waiting.pop()) if child not in SPARED]
        found += below
        waiting += below
    return found


def sandbox_uids() -> "list[int]":
    """Return all processes of our pid namespace but us and the spared.

    The directory lists numbers upwards, and who forks has a child with a higher one: nobody escapes the view by that.
    """
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in SPARED | {os.getpid()}]


def words_of(pid: int, name: str) -> "list[bytes]":
    """Return the words of a file below /proc/PID, none when the process is gone."""
    try:
        with open("/proc/%d/%s" % (pid, name), "rb", 0) as stream:
            return stream.read().split()
    except OSError:
        return []


def resident_memory(pid: int) -> int:
    """Return the most that a process's share of memory can be, in bytes: also what it maps of files, or shares, counts in full."""
    words = words_of(pid, "statm")
    return int(words[1]) * PAGE if words else 0


def proportional_memory(pid: int) -> int:
    """Return a process's share of memory in bytes, shared pages counted in parts: exact, and slow."""
    words = words_of(pid, "smaps_rollup")
    return sum(int(words[words.index(name) + 1]) * 1024 for name in (b"Pss_Anon:", b"Pss_Shmem:") if name in words)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    words = words_of(pid, "stat")
    return (int(words[-39]) + int(words[-38])) / TICK if len(words) > 40 else 0.0
