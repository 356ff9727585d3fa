"""Bytecode as children send it."""

from __future__ import annotations

from pytest_spip.run.forked import read_bytecode


def test_bytecode_is_read_as_far_as_it_came() -> None:
    """What a child sent is taken apart again, but for what lies elsewhere, and for what a limit cut off."""
    files = {"/x/a.pyc": b"1\x002", "/y/b.pyc": b"elsewhere", "/x/c.pyc": b"", "/x/d.pyc": b"last"}
    sent = b"".join(b"%s\0%d\0%s" % (path.encode(), len(data), data) for path, data in files.items())
    whole = {"a.pyc": b"1\x002", "c.pyc": b""}
    assert dict(read_bytecode(sent, "/x/")) == {**whole, "d.pyc": b"last"}
    for cut in range(1, len(b"/x/d.pyc\x004\x00last") + 1):
        assert dict(read_bytecode(sent[:-cut], "/x/")) == whole
