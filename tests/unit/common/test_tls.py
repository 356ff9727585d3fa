"""Hosts whose certificates are not checked."""

from __future__ import annotations

import pytest

from pytest_spip.model import Trust


@pytest.mark.parametrize(("name", "insecure"), [("127.0.0.1", True), ("127.0.0.1:8", False), ("127.0.0.1.org", False)])
def test_is_insecure(name: str, insecure: bool) -> None:
    """A name without a port counts for all ports, one with a port for that one."""
    assert Trust(insecure_hosts=(name,)).is_insecure("https://127.0.0.1:443/simple/") is insecure
