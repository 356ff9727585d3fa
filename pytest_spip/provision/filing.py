"""How wheels get into the store: fetched, checked, unpacked aside; one that is refused is remembered as such."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from pytest_spip.common.trees import replace_text
from pytest_spip.errors import BadWheel, HashMismatch
from pytest_spip.model import digest
from pytest_spip.provision.store import FORM, MARK, WheelStore
from pytest_spip.provision.unpacking import UNPACKER, unpack

__all__ = ["FillableStore"]

DAY = 86400


class FillableStore(WheelStore):
    """The wheel store for those who put wheels into it."""

    def file(self, sha256: str, filename: str, fetch: Callable[[Path], None]) -> bool:
        """See that a wheel is in the store; ``fetch(path)`` brings the file if it is not. Tell whether it was filed now.

        Raises ``BadWheel``, also a remembered one, and whatever ``fetch`` raises.
        """

        def make(target: Path) -> None:
            refused = self.cache.wheels / "refused" / digest(filename, sha256, UNPACKER, FORM)[:40]
            if refused.exists():
                raise BadWheel(refused.read_text("utf-8"))
            wheel = target.parent / filename
            fetch(wheel)
            if _sha256(wheel) != sha256:
                raise HashMismatch(f"{filename}: not the file that was promised")
            try:
                unpack(wheel, target)
                _set_times(target, time.time() - int(sha256[:8], 16) % DAY)
            except BadWheel as error:
                replace_text(refused, str(error))
                raise

        fresh = self.cache.file(self.root(sha256), make)
        self._check_name(sha256, filename)
        return fresh

    def _check_name(self, sha256: str, filename: str) -> None:
        """Raise ``BadWheel`` for a filed wheel under another name or version than it was filed by, which must be its own."""
        known = json.loads((self.root(sha256) / MARK).read_text("utf-8"))
        if known["filename"] == filename:
            return
        name, version, *_ = parse_wheel_filename(filename)
        if (name, version) != (known["name"], Version(known["version"])):
            raise BadWheel(f"{filename}: its metadata name {known['name']} {known['version']}")


def _set_times(root: Path, when: float) -> None:
    """Give all modules one time that hardly another wheel's have: bytecode knows its source by time and size."""
    for path in root.rglob("*.py"):
        os.utime(path, (when, when))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
