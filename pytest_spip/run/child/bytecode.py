"""Compiles source files inside an environment's interpreter. Loaded by path, see forkserver.py; syntax of Python 3.7.

No package code runs here: files are read and compiled, and what comes of it is sent away.
"""

import importlib._bootstrap_external as importing
import os


def compiled(path):
    """Return the bytes that the import system would file for a source; raises what compiling raises."""
    with open(path, "rb") as source:
        text, status = source.read(), os.fstat(source.fileno())
    code = compile(text, path, "exec", dont_inherit=True)
    return bytes(importing._code_to_timestamp_pyc(code, int(status.st_mtime), status.st_size))


def tell(result, nonce, sources):
    """Write the nonce, then for each source that can be compiled: the path its bytecode belongs at, size, bytecode."""
    with open(result, "wb") as stream:
        stream.write(os.read(nonce, 64) + b"\0")
        for path in sources:
            try:
                data = compiled(path)
            except Exception:  # it will fail where it is imported, and be told there
                continue
            stream.write(b"%s\0%d\0%s" % (os.fsencode(importing.cache_from_source(path)), len(data), data))
