"""What the newest release of each package declares, and the user's project, read from the wheels that a run used."""

from __future__ import annotations

import dataclasses
import email.parser
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from pytest_spip.common.releases import version_order
from pytest_spip.model import Combo, PackageMetadata, Ready
from pytest_spip.record.run_reader import RunReader

__all__ = ["declared_metadata", "metadata_of"]

CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d(?:\.\d{1,3})?)", re.ASCII)
NEWEST = 3
"""Releases of a package that are asked for a wheel, the newest first: the very newest may not have been built."""


def declared_metadata(combos: Iterable[Combo], reader: RunReader, project: str = "") -> dict[str, PackageMetadata]:
    """Return the metadata of the newest release of each package, by name, and of the user's ``project`` if there is one.

    What has no wheel in the cache any more is left out.
    """
    found: dict[str, PackageMetadata] = {}
    for package, newest in _newest(combos).items():
        for combo in newest:
            wheels = _wheels(combo, reader)
            if package in wheels and (metadata := metadata_of(wheels[package])):
                found.setdefault(package, dataclasses.replace(metadata, version=combo.version))
                if project in wheels and (own := metadata_of(wheels[project])):
                    found.setdefault(project, own)
                break
    return found


def _newest(combos: Iterable[Combo]) -> dict[str, list[Combo]]:
    """Return the combinations of the newest releases of each package, the newest first."""
    releases: dict[str, dict[str, list[Combo]]] = {}
    for combo in combos:
        if not combo.others and not combo.plan_verdict:
            releases.setdefault(combo.package, {}).setdefault(combo.version, []).append(combo)
    return {
        package: [
            combo
            for one in sorted(versions, key=version_order, reverse=True)[:NEWEST]
            for combo in reversed(versions[one])
        ]
        for package, versions in releases.items()
    }


def _wheels(combo: Combo, reader: RunReader) -> dict[str, Path]:
    provisioned = reader.provision(combo.ordinal)
    wheels = provisioned.environment.wheels if isinstance(provisioned, Ready) else ()
    return {canonicalize_name(wheel.name): Path(wheel.root) for wheel in wheels}


def metadata_of(root: Path) -> PackageMetadata | None:
    """Return what a filed wheel declares, or None where it is no longer there or has no metadata."""
    found = next(iter(sorted(root.glob("*lib/*.dist-info/METADATA"))), None)
    try:
        # The body is a foreign text, in which nested messages would be parsed without end.
        message = email.parser.BytesHeaderParser().parsebytes(found.read_bytes()) if found else None
    except OSError:
        return None
    if message is None:
        return None
    return PackageMetadata(
        tuple(_pythons(str(text) for text in message.get_all("Classifier", []))),
        tuple(str(text) for text in message.get_all("Requires-Dist", [])),
    )


def _pythons(classifiers: Iterable[str]) -> Iterator[str]:
    """Yield the Pythons that classifiers name: ``3``, ``3.12``."""
    for text in classifiers:
        if named := CLASSIFIER.fullmatch(text.strip()):
            yield named[1]
