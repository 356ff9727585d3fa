"""Compiles source files inside an environment's interpreter. Loaded by path, see forkserver.py; syntax of Python 3.7.

No package code runs here but pytest's, where it is to rewrite tests' assertions: files are read and compiled, and what comes of
it is sent away.
"""

import importlib._bootstrap_external as importing
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def compiled(path: str) -> "tuple[str, bytes]":
    """Return where the import system would file a source, and the bytes; raises what compiling raises."""
    with open(path, "rb") as source:
        text, status = source.read(), os.fstat(source.fileno())
    code = compile(text, path, "exec", dont_inherit=True)
    data = importing._code_to_timestamp_pyc(  # type: ignore[attr-defined]  # it is not in the stubs
        code, int(status.st_mtime), status.st_size
    )
    return importing.cache_from_source(path), bytes(data)


def rewriter(site: str) -> "Callable[[str], tuple[str, bytes]]":
    """Return a function like ``compiled`` for tests, by the pytest in a directory, 5.4 to the newest; with others it fails."""
    sys.path.append(site)
    import io
    import pathlib
    import types

    without_options = types.SimpleNamespace(getini=lambda _: False)
    rewrite = __import__("_pytest.assertion.rewrite", fromlist=("rewrite",))

    def rewritten(path: str) -> "tuple[str, bytes]":
        source, stream = pathlib.Path(path), io.BytesIO()
        status, code = rewrite._rewrite_test(source, without_options)
        rewrite._write_pyc_fp(stream, status, code)
        return str(rewrite.get_cache_dir(source) / (source.stem + rewrite.PYC_TAIL)), stream.getvalue()

    return rewritten


def tell(result: int, nonce: int, sources: "Sequence[str]", pytest: str) -> None:
    """Write the nonce, then for each source that can be compiled: the path its bytecode belongs at, size, bytecode.

    With the directory that ``pytest`` is in, also as pytest would file it for a test module.
    """
    ways: "list[Callable[[str], tuple[str, bytes]]]" = [compiled]
    if pytest:
        ways.append(rewriter(pytest))
    with open(result, "wb") as stream:
        stream.write(os.read(nonce, 64) + b"\0")
        for path in sources:
            for way in ways:
                try:
                    place, data = way(path)
                except Exception:  # it will fail where it is imported, and be reported there
                    continue
                stream.write(b"%s\0%d\0%s" % (os.fsencode(place), len(data), data))
