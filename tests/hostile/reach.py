"""Attacks that reach for others: over the network, by signals and by the system calls of those who administer."""

from __future__ import annotations

from tests.hostile.attack import Attack, Off

__all__ = ["REACH"]

BITES, MAY = Off.ESCAPES, Off.MAY

CONNECT = "exchange(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', PORT))"
EARLY = f"""\
#!prelude
import builtins
builtins.STARTED = True
try:
    {CONNECT}
except OSError:
    pass
else:
    builtins.ESCAPED = True
"""
LATE = """\
#!prelude
import builtins
if not hasattr(builtins, "STARTED"):
    raise ImportError("it did not run")
if hasattr(builtins, "ESCAPED"):
    escaped("a connection at start")
"""
ALIEN = "#!prelude\nrefused(write, OUTSIDE + '/marks/' + NAME)\nimport builtins\nbuiltins.STARTED = True\n"

NETWORK = (
    Attack("tcp", f"refused(lambda: {CONNECT})", off=BITES),
    Attack(
        "tcp_by_every_address",
        """
        names = {name for _, name in socket.if_nameindex()}
        addresses = {socket.gethostname(), "127.0.0.1", "localhost", "::1", "0.0.0.0", GATEWAY}
        for address in addresses:
            refused(lambda: socket.create_connection((address, PORT), 20).sendall(NAME.encode()))
        """,
        off=BITES,
    ),
    Attack("tcp6", "refused(exchange, socket.AF_INET6, socket.SOCK_STREAM, ('::1', PORT6 or 9))", off=MAY),
    Attack("udp", "refused(exchange, socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', DATAGRAM_PORT))", off=BITES),
    Attack("name_lookup", "refused(socket.getaddrinfo, 'canary.example.org', 80)"),
    Attack("abstract_socket", "refused(exchange, socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + ABSTRACT)", off=BITES),
    Attack(
        "abstract_datagram",
        "refused(exchange, socket.AF_UNIX, socket.SOCK_DGRAM, chr(0) + DATAGRAM_ABSTRACT)",
        off=BITES,
    ),
    Attack("path_socket", "refused(exchange, socket.AF_UNIX, socket.SOCK_STREAM, PATH)", off=BITES),
    Attack("path_datagram", "refused(exchange, socket.AF_UNIX, socket.SOCK_DGRAM, DATAGRAM_PATH)", off=BITES),
    Attack(
        "reaches_index",
        "import urllib.request\nrefused(lambda: urllib.request.urlopen(INDEX + 'innocent/', timeout=20).close())",
        off=BITES,
    ),
    Attack(
        "child_connects",
        """
        import subprocess
        code = "import socket; socket.create_connection(('127.0.0.1', %d), 20).sendall(b'child')" % PORT
        if subprocess.run([sys.executable, "-I", "-c", code], stderr=subprocess.DEVNULL).returncode == 0:
            escaped()
        """,
        off=BITES,
    ),
    Attack("packet_socket", "refused(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)", off=MAY),
    Attack("raw_socket", "refused(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)", off=MAY),
    Attack("vsock", "refused(socket.socket, 40, socket.SOCK_STREAM)", off=MAY),
    Attack("kernel_crypto", "refused(socket.socket, 38, socket.SOCK_SEQPACKET)", off=MAY),
    Attack(
        "interfaces",
        """
        if names := {name for _, name in socket.if_nameindex()} - {"lo"}:
            escaped(names)
        """,
        off=MAY,
    ),
)

START = (
    Attack(
        "pth_connects",
        files={
            "pth_connects.py": LATE,
            "pth_connects.pth": "import pth_connects_payload\n",
            "pth_connects_payload.py": EARLY,
        },
        off=BITES,
    ),
    Attack(
        "site_customizes",
        files={
            "site_customizes.py": LATE.replace(
                "not hasattr(", "sys.modules['sitecustomize'].__file__.startswith(sys.prefix) and not hasattr("
            ),
            "sitecustomize.py": EARLY,
        },
        off=MAY,
    ),
    Attack(
        "user_customizes",
        files={
            "user_customizes.py": LATE.replace('not hasattr(builtins, "STARTED")', "False"),
            "usercustomize.py": EARLY,
        },
    ),
    Attack(
        "pth_exits",
        files={"pth_exits.py": "", "pth_exits.pth": "import os; os._exit(0)\n"},
        cell=("crashed", "import", "silent-exit"),
    ),
    Attack(
        "script_connects",
        "import subprocess\nif subprocess.run([sys.prefix + '/bin/tool']).returncode == 0:\n    escaped()",
        how={"scripts": {"tool": f"#!python\n#!prelude\n{CONNECT}\n"}},
        off=BITES,
    ),
    Attack(
        "overwrites",
        files={
            **{f"{name}/__init__.py": ALIEN for name in ("pip", "_pytest", "pytest_spip", "pytest", "xdist")},
            **{f"pytest_spip/run/child/{name}.py": ALIEN for name in ("check_import", "forkserver")},
            **{f"{name}.py": ALIEN for name in ("check_import", "json", "os", "sys", "site", "encodings")},
            "overwrites.py": "import _pytest\n" + LATE,
        },
        off=BITES,
    ),
)

REPLACED = (
    Attack("python_garbage", how={"data": {"data/bin/python": "garbage"}}),
    Attack("python_script", how={"scripts": {"python": "#!/bin/sh\nexit 0\n"}}),
    Attack("python_absent", how={"data": {"data/bin/python/x": ""}}),
    Attack("bin_is_file", how={"data": {"data/bin": "x"}}, cell=("failed", "install", "bad-metadata")),
    Attack("no_home", how={"data": {"data/pyvenv.cfg": "home = /nowhere\n"}}),
    Attack("other_directories", how={"data": {"data/home": "", "data/work": "", "data/tmp": "", "data/lib64": ""}}),
)

OTHERS = (
    Attack("kills_bystander", "refused(os.kill, BYSTANDERS[1][0], 9)", off=BITES),
    Attack("traces_bystander", "refused(syscall, 'ptrace', 0x4206, BYSTANDERS[2][0], 0, 0)", off=BITES),
    Attack(
        "bounds_bystander",
        "import resource\nrefused(resource.prlimit, BYSTANDERS[2][0], resource.RLIMIT_NOFILE, (9, 9))",
        off=BITES,
    ),
    Attack("slows_bystander", "refused(os.setpriority, os.PRIO_PROCESS, BYSTANDERS[2][0], 19)", off=BITES),
    Attack(
        "kills_parent",
        """
        confined()
        import signal
        for number in signal.valid_signals() - {signal.SIGSTOP}:
            try:
                os.kill(os.getppid(), number)
                syscall("pidfd_send_signal", syscall("pidfd_open", os.getppid(), 0), number, None, 0)
            except OSError:
                continue
        """,
    ),
    Attack(
        "kills_all",
        """
        confined()
        for pid in (-1, 1, -os.getppid()):
            for number in (9, 2, 15):
                try:
                    os.kill(pid, number) if pid != -1 or number == 9 else None
                except OSError:
                    continue
        """,
    ),
    Attack(
        "bounds_parent",
        """
        confined()
        import resource
        for what, most in ((resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_DATA, 1), (resource.RLIMIT_CPU, 1)):
            refused(resource.prlimit, os.getppid(), what, (most, most))
        """,
    ),
    Attack(
        "slows_parent",
        """
        confined()
        parent, user = os.getppid(), os.getuid()
        for which, who in ((os.PRIO_PROCESS, parent), (os.PRIO_USER, user)):
            try:
                os.setpriority(which, who, 15)
            except OSError:
                pass
        if os.getpriority(os.PRIO_PROCESS, parent) >= 15:
            escaped("another priority of the server")
        refused(os.sched_setaffinity, parent, {0})
        refused(os.sched_setscheduler, parent, os.SCHED_IDLE, os.sched_param(0))
        """,
    ),
)

KERNEL = (
    Attack(
        "terminal_input",
        """
        import fcntl, termios
        _, ours = os.openpty()
        if not os.fork():
            try:
                os.setsid()
                terminal = os.open(os.ttyname(ours), os.O_RDWR)  # it controls the session now
                fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
            except OSError:
                os._exit(0)
            os._exit(1)
        if os.wait()[1]:
            escaped()
        """,
        off=MAY,
    ),
    Attack("mounts", "refused(syscall, 'mount', b'none', b'/tmp', b'tmpfs', 0, None)", off=Off.NOT_RUN),
    Attack(
        "mounts_anew", "refused(syscall, 'fsopen', b'tmpfs', 0)\nrefused(syscall, 'open_tree', -100, b'/', 1)", off=MAY
    ),
    Attack("mount_namespace", "refused(syscall, 'unshare', 0x00020000)", off=MAY),
    Attack("user_namespace", "refused(syscall, 'unshare', 0x10000000)", off=BITES),
    Attack(
        "clones_namespace", "refused(lambda: syscall('clone', 0x10000011, 0, 0, 0, 0) or os._exit(0))", off=Off.NOT_RUN
    ),
    Attack("enters_namespace", "refused(syscall, 'setns', os.open('/proc/self/ns/uts', os.O_RDONLY), 0)", off=MAY),
    Attack("changes_root", "refused(syscall, 'chroot', os.getcwd().encode())", off=MAY),
    Attack(
        "keyring",
        "refused(syscall, 'keyctl', 0, -3, 1)\nrefused(syscall, 'add_key', b'user', NAME.encode(), b'x', 1, -2)",
        off=MAY,
    ),
    Attack(
        "bpf",
        """
        import ctypes
        attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
        refused(syscall, 'bpf', 0, attributes, 128)
        """,
        off=MAY,
    ),
    Attack(
        "perf_event",
        """
        import ctypes
        attributes = (ctypes.c_uint32 * 32)(1, 128)
        refused(syscall, 'perf_event_open', attributes, 0, -1, -1, 0)
        """,
        off=MAY,
    ),
    Attack("io_uring", "import ctypes\nrefused(syscall, 'io_uring_setup', 1, (ctypes.c_uint32 * 30)())", off=MAY),
    Attack("user_faults", "refused(syscall, 'userfaultfd', 1)", off=MAY),
    Attack(
        "file_handle",
        "import ctypes\nrefused(syscall, 'name_to_handle_at', -100, b'/', (ctypes.c_uint32 * 64)(120), (ctypes.c_int * 1)(), 0)",
        off=MAY,
    ),
    Attack("host_name", "refused(syscall, 'sethostname', b'x', 1)", off=Off.NOT_RUN),
    Attack(
        "new_rights",
        """
        status = read("/proc/self/status").decode()
        if "NoNewPrivs:\\t1" not in status or "Seccomp:\\t2" not in status:
            escaped(status)
        """,
        off=MAY,
    ),
    Attack(
        "capabilities",
        """
        status = read("/proc/self/status").decode()
        for line in status.splitlines():
            if line.startswith("Cap") and line.split()[1].strip("0"):
                escaped(line)
        """,
        off=MAY,
    ),
    Attack("becomes_root", "refused(os.setuid, 0)\nrefused(os.setgid, 0)", off=MAY),
)

REACH = (*NETWORK, *START, *REPLACED, *OTHERS, *KERNEL)
