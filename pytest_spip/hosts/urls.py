"""Addresses of shared databases: what is accepted, and how they are shown without what is secret."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pytest_spip.errors import UsageProblem

__all__ = ["DatabaseUrl", "parse_url"]

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "postgresql+psycopg": "postgresql", "sqlite": "sqlite"}
FIX = "write postgresql://USER@HOST/DATABASE or sqlite:///FILE"


@dataclasses.dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a shared database is: ``engine`` is postgresql or sqlite.

    ``public`` is the address without password and parameters: it is what is printed and recorded. ``full`` has all, and is
    neither printed nor recorded; nor is it part of the representation. ``option`` is what named it.
    """

    option: str
    engine: str
    public: str
    full: str = dataclasses.field(repr=False)
    path: Path | None = None
    secrets: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)

    def hide(self, text: str) -> str:
        """Return a text, such as a driver's message, without the address's secrets."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def parse_url(option: str, text: str, base: Path) -> DatabaseUrl:
    """Return the address that an option names; files are seen from ``base``. Raises ``UsageProblem``, without the secrets."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageProblem(option, "no address of a database", FIX) from error
    engine = SCHEMES.get(parts.scheme)
    if engine is None:
        what = f"{parts.scheme}:// is not supported" if parts.scheme and "://" in text else "no address of a database"
        raise UsageProblem(option, what, FIX)
    if engine == "sqlite":
        return _file_url(option, text, base)
    if not parts.path.strip("/") and "dbname=" not in parts.query:
        raise UsageProblem(option, "the address names no database", FIX)
    user = f"{parts.username}@" if parts.username else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    public = f"postgresql://{user}{host}{f':{port}' if port else ''}{parts.path}"
    full = text.replace(parts.scheme, "postgresql+psycopg", 1)
    return DatabaseUrl(option, engine, public, full, secrets=frozenset(_secrets(parts)))


def _secrets(parts: SplitResult) -> set[str]:
    """Return what must not be shown of an address, as it stands there and decoded."""
    given = {parts.password or ""}
    given.update(value for name, value in parse_qsl(parts.query) if "password" in name)
    return {text for one in given if one for text in (one, unquote(one))}


def _file_url(option: str, text: str, base: Path) -> DatabaseUrl:
    _, _, name = text.partition(":///")
    name = unquote(name.partition("?")[0])
    if not name or name == ":memory:":
        raise UsageProblem(option, "the address names no file", FIX)
    path = base / Path(name).expanduser()
    return DatabaseUrl(option, "sqlite", f"sqlite:///{path}", f"sqlite:///{path}", path=path)
