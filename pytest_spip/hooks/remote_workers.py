"""Which of xdist's workers can work for a matrix: those that share this machine's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_spip.errors import UsageProblem

__all__ = ["check_workers"]

REMOTE = ("ssh", "socket", "vagrant_ssh")
"""Keys of execnet's specifications that lead to another machine."""


def check_workers(specifications: Sequence[str]) -> None:
    """Refuse workers that would not find the run's database, cache and environments. Raises ``UsageProblem``.

    ``specifications`` are those of xdist's ``--tx``, such as ``2*popen`` or ``popen//via=one``.
    """
    for remote in _remote(specifications):
        what = f"a worker at {remote} cannot reach this machine's cache and environments"
        fix = "give the same command there, with --spip-queue here and there, or use --spip-shard"
        raise UsageProblem("--tx", what, fix)


def _remote(specifications: Sequence[str]) -> Iterator[str]:
    for text in specifications:
        pairs = (part.partition("=") for part in text.rpartition("*")[2].split("//"))
        yield from (f"{key}={value}" for key, _, value in pairs if key in REMOTE)
