"""Attacks that read, write and touch what is not theirs: files, environments, memory, descriptors of others."""

from __future__ import annotations

from tests.hostile.attack import Attack, Off

__all__ = ["THEFT"]

BITES = Off.ESCAPES

READING = (
    Attack("reads_key", "refused(read, HOME + '/.ssh/id_rsa')", off=BITES),
    Attack("reads_netrc", "refused(read, HOME + '/.netrc')", off=BITES),
    Attack("lists_home", "refused(os.listdir, HOME)", off=BITES),
    Attack("reads_canary", "refused(read, OUTSIDE + '/canary')", off=BITES),
    Attack("links_canary", "refused(os.link, OUTSIDE + '/canary', 'mine')", off=Off.MAY),
    Attack(
        "follows_link",
        "os.symlink(OUTSIDE + '/canary', 'there')\nrefused(read, 'there')",
        off=BITES,
    ),
    Attack(
        "child_reads",
        """
        import subprocess
        got = subprocess.run(["/bin/cat", OUTSIDE + "/canary"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        if got:
            escaped(got)
        """,
        off=BITES,
    ),
    Attack(
        "own_environ",
        """
        if TOKEN in os.environ or TOKEN.encode() in read("/proc/self/environ"):
            escaped(read("/proc/self/environ"))
        """,
    ),
    Attack(
        "parents_environ",
        """
        def parents():
            pid = os.getppid()
            while pid:
                yield pid
                pid = int(read("/proc/%d/stat" % pid).rpartition(b")")[2].split()[1])

        for pid in parents():
            try:
                environ = read("/proc/%d/environ" % pid)
            except OSError:
                continue
            if TOKEN.encode() in environ:
                escaped(environ[environ.index(TOKEN.encode()):])
        """,
        off=BITES,
    ),
    Attack(
        "every_environ",
        """
        for pid in others():
            try:
                environ = read("/proc/%d/environ" % pid)
            except OSError:
                continue
            if TOKEN.encode() in environ:
                escaped(environ[environ.index(TOKEN.encode()):])
        """,
        off=BITES,
    ),
    Attack(
        "every_command_line",
        """
        for pid in others():
            if pid != 1:
                escaped((pid, read("/proc/%d/cmdline" % pid)))
        if b"pytest\\0" in read("/proc/1/cmdline"):
            escaped("the controller")
        """,
        off=BITES,
    ),
    Attack(
        "roots_of_others",
        "each_refused(lambda pid: read('/proc/%s/root%s/canary' % (pid, OUTSIDE)), [*others(), 'self'])",
        off=BITES,
    ),
    Attack(
        "descriptors_of_others",
        """
        for pid in others():
            try:
                links = [os.readlink("/proc/%d/fd/%s" % (pid, one)) for one in os.listdir("/proc/%d/fd" % pid)]
            except OSError:
                continue
            if any(link.startswith(ROOT) for link in links):
                escaped(links)
        """,
        off=BITES,
    ),
    Attack(
        "own_descriptors",
        """
        for one in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink("/proc/self/fd/" + one)
            except OSError:
                continue
            if link.startswith("/") and not link.startswith(("/dev/", "/proc/", sys.prefix)):
                escaped(link)
        """,
    ),
    Attack(
        "memory_by_call",
        """
        import ctypes
        pid, address, _ = BYSTANDERS[0]
        room = ctypes.create_string_buffer(64)
        here, there = ((ctypes.c_size_t * 2)(place, 39) for place in (ctypes.addressof(room), address))
        refused(lambda: syscall("process_vm_readv", pid, here, 1, there, 1, 0) and room.value)
        """,
        off=BITES,
    ),
    Attack(
        "memory_by_file",
        """
        pid, address, _ = BYSTANDERS[0]
        refused(lambda: os.pread(os.open("/proc/%d/mem" % pid, os.O_RDONLY), 39, address))
        """,
        off=BITES,
    ),
    Attack(
        "takes_descriptor",
        """
        pid, _, descriptor = BYSTANDERS[0]
        refused(lambda: os.pread(syscall("pidfd_getfd", syscall("pidfd_open", pid, 0), descriptor, 0), 64, 0))
        """,
        off=BITES,
    ),
    Attack("lists_cache", "refused(os.listdir, CACHE)", off=BITES),
    Attack("lists_layers", "refused(os.listdir, '/.spip')\nrefused(os.listdir, '/.spip/l')"),
    Attack("reads_shadow", "refused(lambda: open('/etc/shadow').close())", off=Off.MAY),
    Attack(
        "homes",
        """
        own = {os.path.realpath(sys.base_prefix), sys.base_prefix, sys.prefix}
        for home in ("/root", "/home", "/var", "/run", "/srv", "/mnt", "/media", "/opt"):
            for top, below, files in os.walk(home):
                below[:] = [name for name in below if os.path.join(top, name) not in own]
                if files:
                    escaped((top, files))
        """,
        off=Off.MAY,
    ),
)

WRITING = (
    Attack("writes_mark", "refused(write, OUTSIDE + '/marks/' + NAME)", off=BITES),
    Attack("writes_home", "refused(write, HOME + '/.bashrc')", off=BITES),
    Attack("writes_cache", "refused(write, CACHE + '/' + NAME)", off=BITES),
    Attack("writes_harness", "refused(lambda: open(HARNESS + '/check_import.py', 'a').close())", off=Off.MAY),
    Attack(
        "writes_system",
        """
        for path in ("/written", "/etc/passwd", "/etc/written", "/usr/written", "/dev/written", "/root/written",
                     "/.spip/written", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
                     "/sys/devices/system/cpu/cpu0/online", "/proc/1/oom_score_adj", "/proc/1/comm",
                     sys.base_prefix + "/written"):
            refused(lambda: open(path, "a").close())
        """,
    ),
    Attack(
        "opens_everything",
        """
        for top, below, files in os.walk("/"):
            own = ("/proc", "/tmp", "/dev/shm", "/dev/pts", "/home/user", "/src")
            below[:] = [one for one in below if os.path.join(top, one) not in own]
            if top.startswith(sys.prefix) or top.count("/") > 2:
                below[:] = []
            elif os.access(top, os.W_OK):
                escaped(top)
        """,
    ),
)

THEFT = (*READING, *WRITING)
