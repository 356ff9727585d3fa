"""What uv prints, read: why a resolution failed, which versions it passed over, and the last words of a build."""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Sequence

from packaging.version import Version

from pytest_spip.common.urls import redact
from pytest_spip.errors import HarnessProblem, NetworkProblem
from pytest_spip.model import Outcome, Phase, Reason, Verdict

__all__ = [
    "Attempt",
    "Failure",
    "build_error",
    "causes",
    "distrusts",
    "is_without_room",
    "last_words",
    "machine_problem",
    "parted",
    "passed_over_in",
    "resolution_failure",
]

_NETWORK_WORDS = re.compile(
    r"error sending request|client error \(Connect\)|dns error|operation timed out|connection (?:closed|reset)"
    r"|network was disabled|Failed to (?:fetch|download)(?! and build)|Request failed after"
    r"|HTTP status (?:server error|client error \(429)|could not be queried|403 Forbidden error"
)
_CERTIFICATE_WORDS = re.compile(r"invalid peer certificate|UnknownIssuer|certificate verify failed")
_BUILD_WORDS = re.compile(r"Failed to (?:download and )?build|Building source distributions")
_URL_WORDS = "URL dependencies must be expressed as direct requirements or constraints"
_LOG_LINE = re.compile(r"^(?:TRACE|DEBUG|INFO|WARN) +(.*)\n?", re.MULTILINE)
_NO_SPACE_WORDS = re.compile(r"No space left on device|Disk quota exceeded")


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """How a resolution went. ``problem`` is what kept uv from one: what ``raise`` takes, or nothing.

    ``passed_over`` are projects and versions that it could not use though they were its choice, in the order of its looks:
    for want of a wheel, or because they are yanked or for another Python. What follows the first is a second-best way.
    """

    passed_over: tuple[tuple[str, str], ...]
    problem: Exception | None


class Failure(Exception):
    """uv said no: ``verdict`` says what that means, ``output`` is the tail of what it printed.

    ``fresh`` says whether it said so just now, and is not remembered. One that is not ``lasting`` may come from what else the
    machine did then, such as a build that took too long, and is remembered for this process alone.
    """

    def __init__(self, verdict: Verdict, output: str, *, fresh: bool = False, lasting: bool = True) -> None:
        self.verdict = verdict
        self.output = output
        self.fresh = fresh
        self.lasting = lasting
        super().__init__(verdict.detail)


def last_words(output: str, lines: int = 40) -> str:
    """Return the tail of an output."""
    return "\n".join(output.rstrip().splitlines()[-lines:])


def distrusts(output: str) -> bool:
    """Return True if uv did not trust a server's certificate."""
    return bool(_CERTIFICATE_WORDS.search(output))


def resolution_failure(output: str, status: int | None, name: str) -> Exception:
    """Return why a project could not be resolved: what ``raise`` takes. A ``status`` of None is a time that ran out."""
    words = " ".join(output.split())  # older versions of uv break lines
    if status is None:
        return NetworkProblem("uv did not answer in time while resolving")
    if problem := machine_problem(output, words, status):
        return problem
    if _URL_WORDS in words:
        return _url_requirement(output)
    if _BUILD_WORDS.search(words):
        detail = _first(r"Failed to (?:download and )?build `?([^`\n]+)`?", output) or "a dependency"
        verdict = Verdict(
            Outcome.FAILED, Phase.BUILD, Reason.DEPENDENCY_BUILD_FAILED, f"{detail}: {build_error(output)}"
        )
        return Failure(verdict, last_words(output))
    if _is_bad(name, words):
        detail = _first(r"hint: ((?:Metadata for|The structure of) .*?)(?: hint:|$)", words) or causes(output)
        # As for a wheel that the store refuses: who finds the fault first depends on what the index serves.
        return Failure(Verdict(Outcome.FAILED, Phase.INSTALL, Reason.BAD_METADATA, detail), last_words(output))
    if "No solution found" in words:
        return Failure(Verdict(Outcome.SKIPPED, Phase.RESOLVE, Reason.NO_SOLUTION, causes(output)), last_words(output))
    return HarnessProblem(f"uv: {causes(output)}")


def _url_requirement(output: str) -> Failure:
    """Return the failure of what requires a URL: pip refuses that of the public index, and uv of any."""
    who = _first(r"dependencies for package `([^`]+)`", output).replace("==", " ") or "it"
    what = _first(r"Consider adding `([^`]+)` to", output) or "a URL"
    name, at, url = what.partition(" @ ")
    detail = f"{who} requires {name}{at}{redact(url)}, which no index lists, and what lies behind a URL is not fetched"
    return Failure(Verdict(Outcome.SKIPPED, Phase.RESOLVE, Reason.URL_REQUIREMENT, detail), last_words(output))


def _is_bad(name: str, words: str) -> bool:
    """Return True if uv calls the release itself bad, or anything that is not the project it is offered as."""
    own = rf"\b{re.escape(name)}==\S+ has (?:an )?(?:invalid|inconsistent) (?:metadata|package format)"
    return bool(re.search(rf"{own}|metadata name `[^`]+` does not match given name", words))


def parted(output: str) -> tuple[list[str], str]:
    """Return the log's lines, and what uv said beside them."""
    return _LOG_LINE.findall(output), _LOG_LINE.sub("", output)


def passed_over_in(log: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read a resolver's log.

    Other threads log what they look at ahead of it, so project and range tell what belongs together. A look goes from the
    newest version down, past those that are too new for the date, and ends with the one that counts.
    """
    asked: list[tuple[str, str]] = []
    found: dict[tuple[str, str], str] = {}
    unusable: dict[tuple[str, str], str] = {}
    for line in log:
        if match := re.match(r"Searching for a compatible version of ([\w.-]+).* \(([^()]*)\)$", line):
            asked.append((match[1], match[2]))  # extras and markers, which may follow the name, share its versions
        elif match := re.match(
            r"Found candidate for package (\S+) with range (.*) after \d+ steps: (\S+) version", line
        ):
            found[match[1], match[2]] = min(found.get((match[1], match[2]), match[3]), match[3], key=Version)
        elif match := re.match(r"Returning incompatible candidate for package (\S+) with range (.*) after", line):
            unusable[match[1], match[2]] = found.get((match[1], match[2]), "")
    return tuple(dict.fromkeys((name, unusable[name, wanted]) for name, wanted in asked if (name, wanted) in unusable))


def is_without_room(output: str) -> bool:
    """Return True if a program ended for want of room on a disk."""
    return bool(_NO_SPACE_WORDS.search(output))


def machine_problem(output: str, words: str, status: int | None) -> Exception | None:
    """Return what says nothing about any package: no room, no network, or uv itself killed."""
    if is_without_room(words):
        return OSError(errno.ENOSPC, causes(output))
    if status is not None and status < 0:
        return HarnessProblem(f"uv was ended by signal {-status}")
    if _NETWORK_WORDS.search(words):
        return NetworkProblem(causes(output))
    return None


def build_error(output: str, otherwise: str = "") -> str:
    """Return the line of a build log that says why: the last exception, else the last error, else other words, or uv's."""
    lines = [line.strip() for line in output.splitlines()]
    for pattern in (
        r"[\w.]+(?:Error|Exception|Exit)\b.*",
        r"(?:fatal )?error: (?!Failed to (?:download and )?build|subprocess).+",
    ):
        said = [line for line in lines if re.match(pattern, line)]
        if said:
            return said[-1]
    return otherwise or causes(output)


def causes(output: str) -> str:
    """Return uv's last two clauses: ``error:`` and ``cause:`` lines, or the tree that older versions draw."""
    texts = re.findall(r"^\s*(?:error:|[Cc]aused? by:|cause:|×|├─▶|╰─▶)\s*(.+)$", output, re.MULTILINE)  # noqa: RUF001  # uv's sign
    shown = [text for text in texts if not text.startswith("Failed to build `/")] or texts  # a path says nothing
    return "; ".join(shown[-2:]) or (output.strip().splitlines() or ["no output"])[-1]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
