"""Addresses of shared databases: what is accepted, and how they are shown without what is secret."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_spip.errors import UsageProblem

__all__ = ["DatabaseUrl", "parse_url"]

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "postgresql+psycopg": "postgresql", "sqlite": "sqlite"}
LEASE = 60.0
"""Seconds for which a silent host keeps what it has claimed, from its last heartbeat on."""
FIX = "write postgresql://USER@HOST/DATABASE or sqlite:///FILE"
ESCAPES = f"{FIX}; in a password, @ / ? # are written as %40 %2F %3F %23"


@dataclasses.dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a shared database is: ``engine`` is postgresql or sqlite.

    ``public`` is the address without password and parameters: it is what is printed and recorded. ``full`` has all, and is
    neither printed nor recorded; nor is it part of the representation. ``option`` is what named it. ``lease`` are the seconds
    for which a silent host keeps what it has claimed, from our own parameter of that name.
    """

    option: str
    engine: str
    public: str
    full: str = dataclasses.field(repr=False)
    path: Path | None = None
    secrets: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)
    lease: float = LEASE

    def hide(self, text: str) -> str:
        """Return a text, such as a driver's message, without the address's secrets."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def parse_url(option: str, text: str, base: Path) -> DatabaseUrl:
    """Return the address that an option names; files are seen from ``base``. Raises ``UsageProblem``, without the secrets."""
    parts, port = _split(text)
    if parts is None or not text.isprintable() or " " in text:
        raise UsageProblem(option, "no address of a database", FIX)
    text, lease = _without_lease(option, text, parts.query)
    engine = SCHEMES.get(parts.scheme)
    if engine is None:
        what = f"{parts.scheme}:// is not supported" if parts.scheme and "://" in text else "no address of a database"
        raise UsageProblem(option, what, FIX)
    if engine == "sqlite":
        return _file_url(option, text, base, lease)
    if text.count("@") > parts.netloc.count("@") or parts.netloc.count("@") > 1 or parts.fragment:
        raise UsageProblem(option, "no address of a database", ESCAPES)  # libpq would take it apart in another way
    if not parts.path.strip("/") and "dbname=" not in parts.query:
        raise UsageProblem(option, "the address names no database", FIX)
    if any("=" not in parameter for parameter in parts.query.split("&") if parts.query):
        raise UsageProblem(option, "one of the address's parameters has no value", ESCAPES)
    user = f"{parts.username}@" if parts.username else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    public = f"postgresql://{user}{host}{f':{port}' if port else ''}{parts.path}"
    full = f"postgresql{text[len(parts.scheme) :]}"
    return DatabaseUrl(option, engine, public, full, secrets=frozenset(_secrets(parts)), lease=lease)


def _split(text: str) -> tuple[SplitResult | None, int | None]:
    """Take an address apart; what urllib says of one that it cannot would quote the password."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None, None
    return parts, port


def _secrets(parts: SplitResult) -> set[str]:
    """Return what must not be shown of an address, as it stands there and decoded."""
    given = {parts.password or ""}
    for parameter in parts.query.split("&"):
        name, _, value = parameter.partition("=")
        if "password" in unquote(name).lower():
            given.add(value)
    return {text for one in given if one for text in (one, unquote(one))}


def _without_lease(option: str, text: str, query: str) -> tuple[str, float]:
    """Return the address without our own parameter, and that, or its default. Raises ``UsageProblem``."""
    found = re.search(r"(?:^|&)lease=([^&]*)", query)
    if found is None:
        return text, LEASE
    try:
        lease = float(found[1])
    except ValueError:
        lease = 0.0
    if not 1 <= lease <= 3600:
        raise UsageProblem(option, f"lease={found[1]} is no lease", "give 1 to 3600 seconds")
    rest = (query[: found.start()] + query[found.end() :]).removeprefix("&")
    return text.replace(f"?{query}", f"?{rest}" if rest else ""), lease


def _file_url(option: str, text: str, base: Path, lease: float) -> DatabaseUrl:
    _, _, name = text.partition(":///")
    name = unquote(name.partition("?")[0])
    if not name or name == ":memory:":
        raise UsageProblem(option, "the address names no file", FIX)
    path = base / Path(name).expanduser()
    return DatabaseUrl(option, "sqlite", f"sqlite:///{path}", f"sqlite:///{path}", path=path, lease=lease)
