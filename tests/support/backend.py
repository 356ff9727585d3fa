"""A PEP 517 build backend that test sdists carry.

Runs inside foreign interpreters: stdlib only, syntax of Python 3.7. ``backend.json`` beside it says what to build:

    stem      name and version as the wheel's filename spells them: ``demo-1.0``
    tag       the wheel's tag; empty for one that only the building interpreter can use
    metadata  text of METADATA
    files     paths of the sdist that go into the wheel
    fails     message to fail with; empty to succeed
    counter   file that gets one line for each build, the version of the building Python; empty for none
    fails_on  version of Python, such as 3.12, on which no wheel can be built; missing for none
    strips    directory, with a slash, that paths lose on their way into the wheel; missing for none
    generates files that the build makes: path in the wheel -> text; missing for none
    packs     paths of files that go into the sdist
    unpacked  message with which packing the sdist fails; missing to succeed
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import sys
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).absolute().parent
EPOCH = (1980, 1, 1, 0, 0, 0)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """Write the metadata without a build, as most backends can, or fail with the message of ``backend.json``."""
    options = json.loads((HERE / "backend.json").read_text(encoding="utf-8"))
    if options["fails"]:
        raise RuntimeError(options["fails"])
    info = Path(metadata_directory, options["stem"] + ".dist-info")
    info.mkdir()
    (info / "METADATA").write_text(options["metadata"], encoding="utf-8")
    return info.name


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """Build the wheel that ``backend.json`` describes, or fail with its message."""
    options = json.loads((HERE / "backend.json").read_text(encoding="utf-8"))
    if options["counter"]:
        note_build(Path(options["counter"]))
    if options["fails"]:
        raise RuntimeError(options["fails"])
    if options.get("fails_on") == "{}.{}".format(*sys.version_info[:2]):
        raise RuntimeError("no compiler for " + options["fails_on"])
    tag = options["tag"] or running_tag()
    filename = "{}-{}.whl".format(options["stem"], tag)
    info = options["stem"] + ".dist-info"
    strips = len(options.get("strips", ""))
    members = {path[strips:]: (HERE / path).read_bytes() for path in options["files"]}
    members.update((path, text.encode()) for path, text in options.get("generates", {}).items())
    members[info + "/METADATA"] = options["metadata"].encode()
    members[info + "/WHEEL"] = wheel_text(tag).encode()
    write_wheel(Path(wheel_directory, filename), info, members)
    return filename


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Pack the files that ``backend.json`` names; as other backends do it, the archive tells when that was."""
    options = json.loads((HERE / "backend.json").read_text(encoding="utf-8"))
    if options.get("unpacked"):
        raise RuntimeError(options["unpacked"])
    with tarfile.open(str(Path(sdist_directory, options["stem"] + ".tar.gz")), "w:gz") as archive:
        for path in options["packs"]:
            archive.add(str(HERE / path), options["stem"] + "/" + path)
        info = tarfile.TarInfo(options["stem"] + "/PKG-INFO")
        info.mtime, info.size = time.time(), len(options["metadata"].encode())
        archive.addfile(info, io.BytesIO(options["metadata"].encode()))
    return f"{options['stem']}.tar.gz"


def note_build(counter: Path) -> None:
    """Append the running Python's version to the counter; one short write, so that builds at once do not mix lines."""
    with counter.open("a", encoding="utf-8") as file:
        file.write("{}.{}\n".format(*sys.version_info[:2]))


def running_tag() -> str:
    """Return a tag that only the running implementation, version and platform accept."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    version = "{}{}".format(*sys.version_info[:2])
    if sys.implementation.name == "cpython":
        return f"cp{version}-cp{version}{sys.abiflags}-{platform}"
    return f"{sys.implementation.name[:2]}{version}-none-{platform}"


def wheel_text(tag: str) -> str:
    """Return the text of WHEEL for a tag, compressed ones such as ``py2.py3-none-any`` written out."""
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    expanded = [f"Tag: {py}-{abi}-{platform}\n" for py in pythons for abi in abis for platform in platforms]
    pure = "true" if platforms == ["any"] else "false"
    return f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\n" + "".join(expanded)


def write_wheel(path: Path, info: str, members: dict[str, bytes]) -> None:
    """Write the members as a zip file, the same bytes each time, with RECORD last unless they bring their own."""
    record = info + "/RECORD"
    complete = dict(members)
    complete.setdefault(record, record_text(members, record).encode())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in complete.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (0o100755 if ".data/scripts/" in name else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def record_text(members: dict[str, bytes], record: str) -> str:
    """Return RECORD for the members: path, hash and size, and neither of these for itself."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, content in members.items():
        writer.writerow([name, "sha256=" + encoded(hashlib.sha256(content).digest()), len(content)])
    writer.writerow([record, "", ""])
    return text.getvalue()


def encoded(digest: bytes) -> str:
    """Return a digest as RECORD spells it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
