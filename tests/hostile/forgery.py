"""Attacks on the verdict: forged results, text that is to run or to move a cursor; and what one leaves for the next."""

from __future__ import annotations

from tests.hostile.attack import CRASHED, IMPORT_ERROR, KILLED, Attack, Off

__all__ = ["FORGERY", "HOSTILE_TEXT"]

SPRAY = """\
def spray(frame):
    for descriptor in range(3, 1000):
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, frame)
            os.set_blocking(descriptor, True)
        except OSError:
            continue
"""
FORGED = (
    SPRAY
    + """\
fields = b"passed\\0" + b"1000000\\0", b"\\0passed\\0" + b"1\\0", b"0" * 32 + b"\\0passed\\0" + b"1\\0"
"""
)

READ = """\
# the nonce lies in a pipe until the check takes it
def read_pipes():
    for descriptor in range(3, 1000):
        try:
            os.set_blocking(descriptor, False)
            yield os.read(descriptor, 64)
        except OSError:
            continue
"""
INSIDE = "what one reads in its own process, it can forge a pass with, for itself"

VERDICTS = (
    Attack(
        "forges_with_nonce",
        SPRAY + READ + "for nonce in list(read_pipes()):\n    spray(nonce + b'\\0passed\\0' + b'1\\0')\nos._exit(0)",
        CRASHED("silent-exit"),
        lacking=INSIDE,
    ),
    Attack("forges", FORGED + "spray(b''.join(fields))\nos._exit(0)", CRASHED("silent-exit")),
    Attack("forges_each", FORGED + "for one in fields:\n    spray(one)\nos._exit(0)", CRASHED("silent-exit")),
    Attack("forges_garbage", SPRAY + "spray(os.urandom(4096) + b'\\0' * 8)", CRASHED("silent-exit")),
    Attack("forges_fault", SPRAY + "spray(b'no sandbox')\nos._exit(70)", CRASHED("silent-exit")),
    Attack(
        "forges_at_exit",
        FORGED + "import atexit\natexit.register(spray, b''.join(fields))\n1 / 0",
        CRASHED("silent-exit"),
    ),
    Attack("forges_reason", "os._exit(70)", CRASHED("silent-exit"), "exit status 70"),
    Attack(
        "forges_error",
        "raise type('HarnessProblem', (OSError,), {'__module__': 'pytest_spip.errors'})('error: sandbox: worker-lost')",
        IMPORT_ERROR,
    ),
    Attack(
        "hides_failure",
        """
        class Shy(BaseException):
            def __str__(self):
                os._exit(0)

        raise Shy
        """,
        CRASHED("silent-exit"),
    ),
    Attack(
        "claims_much",
        SPRAY + "spray(b'passed\\0' * 4 + b'9' * (1 << 19))\nraise ImportError('x' * (8 << 20))",
        CRASHED("silent-exit"),
    ),
    Attack("long_message", "raise ImportError('x' * (8 << 20))", IMPORT_ERROR, "ImportError: xxxx"),
)

HOSTILE_TEXT = "\\x1b]0;owned\\x07\\x1b[2J\\x1b[31m\\u202egnp.exe\\x9b1m\\r<script>alert(1)</script>\\x00\\ud800"
SEEN = "<script>alert(1)</script>"

TEXTS = (
    Attack("text_in_message", f'raise ImportError("{HOSTILE_TEXT}")', IMPORT_ERROR, SEEN),
    Attack(
        "text_in_type",
        f'raise type("{HOSTILE_TEXT}".replace(chr(0), "").encode("utf-8", "replace").decode(), (Exception,), {{}})("no")',
        IMPORT_ERROR,
        SEEN,
    ),
    Attack(
        "text_in_output",
        f'sys.stdout.buffer.write("{HOSTILE_TEXT}".encode("utf-8", "surrogatepass"))\nsys.stdout.flush()\nraise ImportError("no")',
        IMPORT_ERROR,
        "no",
    ),
    Attack("text_in_exit", f'raise SystemExit("{HOSTILE_TEXT}")', IMPORT_ERROR, SEEN),
    Attack(
        "text_in_log",
        f'print("{HOSTILE_TEXT}".encode("utf-8", "replace").decode(), flush=True)\ntime.sleep(60)',
        KILLED("inactive"),
    ),
)


def leaving(look: str, leave: str) -> str:
    """Return code that looks for what an earlier combination left, then leaves it."""
    return f'mark = MARK + "-" + NAME\nif {look}:\n    escaped("what another combination left")\n{leave}\n'


FILES = "[place for place in PLACES if os.path.exists(os.path.join(place, mark))]"
PLACES = """\
PLACES = [os.environ["HOME"], os.environ["TMPDIR"], os.getcwd(), os.path.dirname(__file__), sys.prefix, sys.prefix + "/bin"]
"""
ROOMS = 'PLACES = ["/tmp", "/var/tmp", "/dev/shm"]\n'
PUT = "for place in PLACES:\n    open(os.path.join(place, mark), 'w').close()"
BOUND = """\
def held(family, address):
    with socket.socket(family) as one:
        return one.connect_ex(address) == 0
"""
DAEMON = """\
if not os.fork():
    os.setsid()
    if not os.fork():
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        one = socket.socket({family})
        one.bind({address})
        one.listen()
        os.write(told, b"x")
        time.sleep(600)
    os._exit(0)
os.read(ready, 1)
"""
LEFT = (
    Attack("leaves_files", PLACES + leaving(FILES, PUT), versions=3),
    Attack("leaves_in_tmp", ROOMS + leaving(FILES, PUT), versions=3, off=Off.ESCAPES),
    Attack(
        "leaves_system_v",
        """
        import zlib
        key = zlib.crc32((MARK + NAME).encode()) & 0x7FFFFFFF
        try:
            syscall("shmget", key, 4096, 0o600)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                syscall("shmget", key, 4096, 0o1600)
        else:
            escaped("shared memory")
        """,
        versions=3,
        off=Off.ESCAPES,
    ),
    Attack(
        "leaves_queue",
        """
        import ctypes
        LIBRT = ctypes.CDLL("librt.so.1", use_errno=True)
        name = ("/" + MARK + NAME).encode()
        if LIBRT.mq_open(name, os.O_RDONLY) != -1:
            escaped("a message queue")
        called(LIBRT.mq_open, name, os.O_CREAT | os.O_RDWR, 0o600, None)
        """,
        versions=3,
        off=Off.ESCAPES,
    ),
    Attack(
        "leaves_daemon",
        "ready, told = os.pipe()\n"
        + BOUND
        + leaving(
            "held(socket.AF_UNIX, chr(0) + mark)", DAEMON.format(family="socket.AF_UNIX", address="chr(0) + mark")
        ),
        versions=3,
    ),
    Attack(
        "leaves_port",
        "ready, told = os.pipe()\n"
        + BOUND
        + leaving(
            "held(socket.AF_INET, ('127.0.0.1', 45671))",
            DAEMON.format(family="socket.AF_INET", address="('127.0.0.1', 45671)"),
        ),
        versions=3,
    ),
    Attack(
        "leaves_terminal",
        """
        held = [os.openpty() for _ in range(4)]
        if os.ttyname(held[0][1]) != "/dev/pts/0":
            escaped(os.ttyname(held[0][1]))
        """,
        versions=3,
    ),
    Attack(
        "leaves_changes",
        """
        with open(__file__, "a") as stream:
            stream.write("\\nraise ImportError('escaped: another combination changed it')\\n")
        """,
        versions=1,
    ),
    *(
        Attack(
            f"finds_changes_{n}",
            "import leaves_changes\nos.unlink(leaves_changes.__file__)",
            how={"requires": ["leaves_changes"]},
        )
        for n in (1, 2, 3)
    ),
)

FORGERY = (*VERDICTS, *TEXTS, *LEFT)
