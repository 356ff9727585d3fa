"""The filter of system calls, run as the kernel runs it: every number of each architecture."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest

from pytest_spip.run.child import seccomp

NUMBERS = (*range(700), 2**30 - 1, 2**30, 2**30 + 1, 2**31, 2**32 - 1)
FINE = (0,) * 6
CLONE, IOCTL, SOCKET, PRLIMIT = range(4)
"""Places of the calls below whose arguments decide."""
DECIDED = {"x86_64": (56, 16, 41, 302), "aarch64": (220, 29, 198, 261)}


def answer(program: Sequence[bytes], number: int, architecture: int, arguments: Sequence[int] = FINE) -> int:
    """Return the error number that a call ends with, 0 if it is allowed: classic BPF as far as the filter uses it."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    held, place = 0, 0
    while True:
        code, yes, no, value = struct.unpack("HBBI", program[place])
        place += 1
        if code == seccomp.RETURN:
            return 0 if value == seccomp.ALLOW else value ^ seccomp.ERRNO
        if code == seccomp.LOAD:
            (held,) = struct.unpack_from("<I", data, value)
            continue
        met = {seccomp.EQUAL: held == value, seccomp.ABOVE: held >= value, seccomp.MASKED: bool(held & value)}[code]
        place += yes if met else no


@pytest.mark.parametrize("sockets", [True, False])
@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_every_number_is_answered_as_the_tables_have_it(machine: str, *, sockets: bool) -> None:
    """What the tables name is refused, by its error; all else is allowed; what is above all numbers does not exist."""
    program, column = seccomp.program(machine, sockets), {"x86_64": 0, "aarch64": 1}[machine]
    refused = {numbers[column] for numbers in seccomp._TWO.values()} | set(seccomp._SAME.values())
    absent = {numbers[column] for numbers in seccomp._UNCOUNTED.values()} | set(seccomp._ABSENT.values())
    absent |= {number for number in NUMBERS if number >= 2**30}
    socket = DECIDED[machine][SOCKET]  # of family 0
    expected = {number: errno.EPERM if number in refused else 0 for number in NUMBERS}
    expected |= dict.fromkeys(absent, errno.ENOSYS) | {socket: errno.EAFNOSUPPORT if sockets else errno.EPERM}
    found = {number: answer(program, number, seccomp.ARCHITECTURES[machine]) for number in NUMBERS}
    assert found == expected


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_another_architecture_has_no_calls(machine: str) -> None:
    """A call by another architecture's numbers fails, whichever it is."""
    program = seccomp.program(machine, sockets=True)
    others = [one for name, one in seccomp.ARCHITECTURES.items() if name != machine] + [0x40000003]
    assert {answer(program, number, other) for number in NUMBERS for other in others} == {errno.ENOSYS}


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
@pytest.mark.parametrize(
    ("call", "place", "refused", "allowed"),
    [
        (CLONE, 0, [0x00020000, 0x10000000, 0x20000000, 0x80], [0x01200011, 0x003D0F00]),
        (IOCTL, 1, [0x5412, 0x541C, 2**32 + 0x5412], [0x5401, 0x5413]),
        (SOCKET, 0, [17, 38, 40], [1, 2, 10, 16]),
        (PRLIMIT, 0, [1], [0, 2, 4711]),
    ],
    ids=["clone", "ioctl", "socket", "prlimit"],
)
def test_arguments_decide(machine: str, call: int, place: int, refused: list[int], allowed: list[int]) -> None:
    """Of four calls one argument is looked at, its lower half."""
    program, number = seccomp.program(machine, sockets=True), DECIDED[machine][call]

    def answers(values: list[int]) -> list[bool]:
        given = [(*FINE[:place], value, *FINE[place + 1 :]) for value in values]
        return [answer(program, number, seccomp.ARCHITECTURES[machine], one) == 0 for one in given]

    assert (answers(refused), answers(allowed)) == ([False] * len(refused), [True] * len(allowed))
