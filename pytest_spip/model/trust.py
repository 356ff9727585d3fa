"""Whom HTTPS connections trust: one frozen record for all of them, ours and uv's."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

__all__ = ["Trust"]


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """The user's settings for TLS. Without any, the certificates that requests and uv bring count.

    ``files`` and ``directories`` hold certificates of authorities, in place of those; ``setting`` names what the user set.
    ``system`` asks for the authorities of the operating system. ``client`` is a file with a certificate of ours and its key.
    ``insecure_hosts`` are ``host`` or ``host:port``, whose certificates are not verified.
    """

    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    setting: str = ""
    system: bool = False
    client: str = ""
    insecure_hosts: tuple[str, ...] = ()

    def is_insecure(self, url: str) -> bool:
        """Return True if the certificate of the URL's host is not to be verified."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = f"{host}:{parts.port or 443}"
        return any(name.lower() in {host, address} for name in self.insecure_hosts)

    @property
    def authorities(self) -> str:
        """Return where the trusted certificates come from, for a message."""
        if places := (*self.files, *self.directories):
            return f"{self.setting} ({', '.join(places)})"
        return "the system's certificates" if self.system else "the public authorities (no setting names others)"

    @property
    def advice(self) -> str:
        """Return what to do about a certificate that is not trusted."""
        return (
            f"trusted are {self.authorities}; name your authority's certificate by SSL_CERT_FILE, "
            "use the system's with UV_SYSTEM_CERTS=1, or trust the host with UV_INSECURE_HOST"
        )

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables that tell uv the same."""
        pairs = {
            "SSL_CERT_FILE": self.files[0] if self.files else "",
            "SSL_CERT_DIR": ":".join(self.directories),
            "SSL_CLIENT_CERT": self.client,
            "UV_INSECURE_HOST": " ".join(self.insecure_hosts),
            "UV_SYSTEM_CERTS": "true" if self.system else "",
            "UV_NATIVE_TLS": "true" if self.system else "",  # its name before uv 0.10
        }
        return {name: value for name, value in pairs.items() if value}
