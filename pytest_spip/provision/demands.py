"""What wheels say of themselves that only their metadata tell: which Pythons they admit, and which extras they have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytest_spip.common.tags import accepts_python
from pytest_spip.model import Interpreter, Outcome, Phase, Reason, StoredWheel, Verdict
from pytest_spip.provision.needs import fields, parsed_requirements
from pytest_spip.provision.uv_output import Failure

__all__ = ["absent_extras", "metadata_of", "refuse_python"]


def metadata_of(wheel: StoredWheel) -> str:
    """Return the core metadata of a filed wheel."""
    (path,) = Path(wheel.root).glob("*lib/*.dist-info/METADATA")
    return path.read_text("utf-8", "replace")


def refuse_python(metadata: str, interpreter: Interpreter, blamed: str = "") -> None:
    """Raise ``Failure`` where metadata do not admit an interpreter, by either bound, as pip refuses what an index did not."""
    demanded = "".join(fields(metadata, "Requires-Python")[:1])
    if demanded and not accepts_python(demanded, interpreter.version):
        detail = f"{blamed}Requires-Python {demanded}"
        raise Failure(Verdict(Outcome.SKIPPED, Phase.RESOLVE, Reason.REQUIRES_PYTHON, detail), "")


def absent_extras(requirements: Sequence[str], wheels: Collection[StoredWheel]) -> Iterator[str]:
    """Yield a sentence for each extra that is asked for and that its project does not have: installers only warn of it."""
    known = {wheel.name: wheel for wheel in wheels}
    for asked in dict.fromkeys(
        (name, extra) for one in parsed_requirements(requirements) for name, extra in _extras(one)
    ):
        name, extra = asked
        if wheel := known.get(name):
            offered = {canonicalize_name(one) for one in fields(metadata_of(wheel), "Provides-Extra")}
            if extra not in offered:
                yield f"{name} does not provide the extra {extra!r}"


def _extras(requirement: Requirement) -> Iterator[tuple[str, str]]:
    for extra in sorted(requirement.extras):
        yield canonicalize_name(requirement.name), canonicalize_name(extra)
