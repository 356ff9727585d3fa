"""Attacks that take too much, never end, or end as they should not. Each is bounded, also where nothing bounds it."""

from __future__ import annotations

from tests.hostile.attack import CRASHED, IMPORT_ERROR, KILLED, Attack

__all__ = ["BOMBS", "INACTIVITY", "MEMORY", "TIMEOUT"]

TIMEOUT = 20
INACTIVITY = 5
MEMORY = 256
"""Seconds, seconds and MiB that a combination is given: enough for any attack that is refused, on a busy machine too."""

TAKEN = f"{MEMORY + 128} << 20"
WAIT = "time.sleep(60)\nescaped('more memory than it may')\n"
MAP = "import mmap\n"

MEMORIES = (
    Attack(
        "bytes_bomb", f"taken = bytearray({TAKEN})\nescaped('memory')", KILLED("out-of-memory"), f"limit {MEMORY} MiB"
    ),
    Attack(
        "family_bomb",
        f"""
        for _ in range(4):
            if not os.fork():
                taken = b"x" * ({MEMORY // 2} << 20)
                time.sleep(60)
        {WAIT.strip().replace(chr(10), chr(10) + " " * 8)}
        """,
        KILLED("out-of-memory"),
    ),
    Attack(
        "shared_bomb",
        f"{MAP}taken = mmap.mmap(-1, {TAKEN})\nfor place in range(0, {TAKEN}, 4096):\n    taken[place] = 1\n{WAIT}",
        KILLED("out-of-memory"),
    ),
    Attack(
        "memfd_bomb",
        "refused(os.memfd_create, 'bomb')",
    ),
    Attack(
        "system_v_bomb",
        f"""
        for _ in range(3):
            refused(syscall, "shmget", 0, {TAKEN}, 0o1600)
        """,
    ),
)

FULL = """
    part = bytes(1 << 24)
    with open({path!r}, "wb", 0) as stream:
        for _ in range(60):
            stream.write(part)
    with open({path!r} + "2", "wb", 0) as stream:
        for _ in range(60):
            stream.write(part)
    escaped("all the room")
    """

ROOM = (
    Attack(
        "shm_bomb", FULL.format(path="/dev/shm/bomb"), KILLED("environment-full"), "No space left", only="root-warm"
    ),
    Attack("work_bomb", FULL.format(path="bomb"), KILLED("environment-full"), "No space left", only="user-cold"),
    Attack(
        "huge_file",
        "with open('huge', 'wb') as stream:\n    stream.truncate(2 << 30)\nescaped('a huge file')",
        KILLED("environment-full"),
        "File too large",
    ),
)

NUMBERS = (
    Attack(
        "fork_bomb",
        """
        confined()
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)
        """,
        KILLED("too-many-processes"),
    ),
    Attack(
        "forking_thread",
        """
        confined()
        import threading
        def forking():
            while True:
                try:
                    os.fork()
                except OSError:
                    time.sleep(0.01)
        threading.Thread(target=forking, daemon=True).start()
        time.sleep(60)
        """,
        KILLED("too-many-processes"),
    ),
    Attack(
        "wide_bomb",
        """
        confined()
        for _ in range(1000):
            if not os.fork():
                time.sleep(60)
        escaped("processes")
        """,
        KILLED("too-many-processes"),
    ),
    Attack(
        "thread_bomb",
        """
        import threading
        threading.stack_size(32 << 10)
        for _ in range(1000):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        escaped("threads")
        """,
        KILLED("too-many-processes"),
    ),
    Attack(
        "descriptor_bomb",
        "refused(lambda: [os.dup(0) for _ in range(1 << 21)] and 'descriptors')",
    ),
    Attack("endless_output", "while True:\n    os.write(1, b'x' * (1 << 20))", KILLED("log-limit"), "16 MiB"),
    Attack(
        "endless_result",
        """
        frame = b"passed\\0" * (1 << 17)
        for _ in range(4):
            for descriptor in range(3, 20):
                try:
                    os.write(descriptor, frame)
                except OSError:
                    continue
        """,
        CRASHED("silent-exit"),
    ),
)

ENDLESS = (
    Attack(
        "deaf",
        """
        import signal
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            print("still here", flush=True)
            time.sleep(0.5)
        """,
        KILLED("timeout"),
        f"no end after {TIMEOUT} s",
    ),
    Attack("silent", "time.sleep(600)", KILLED("inactive")),
    Attack("stops_itself", "os.kill(os.getpid(), 19)", KILLED("inactive")),
    Attack("exit_hangs", "import atexit\natexit.register(time.sleep, 600)", KILLED("inactive")),
    Attack(
        "thread_hangs", "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()", KILLED("inactive")
    ),
)

ENDS = (
    Attack("segfaults", "import ctypes\nctypes.string_at(0)", CRASHED("SIGSEGV")),
    Attack("kills_itself", "os.kill(os.getpid(), 9)", CRASHED("SIGKILL")),
    Attack("leaves", "os._exit(0)", CRASHED("silent-exit")),
    Attack("leaves_late", "import atexit\natexit.register(os._exit, 0)"),
    Attack("leaves_badly", "import atexit\natexit.register(os._exit, 3)", IMPORT_ERROR, "exit status 3"),
    Attack("aborts", "os.abort()", CRASHED("SIGABRT")),
    Attack("twins", "os.fork()"),
    Attack("closes_everything", "os.closerange(0, 1024)", CRASHED("silent-exit")),
    Attack(
        "replaces_functions",
        """
        import builtins, atexit
        def useless(*arguments, **named):
            return None
        os._exit = os.abort = os.getppid = sys.exit = builtins.exit = builtins.quit = atexit.register = useless
        """,
    ),
    Attack("replaces_modules", "sys.modules.clear()\nsys.meta_path.clear()\nsys.path.clear()", IMPORT_ERROR),
)

BOMBS = (*ENDLESS, *MEMORIES, *ROOM, *NUMBERS, *ENDS)
