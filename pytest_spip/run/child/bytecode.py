"""Compiles source files inside an environment's interpreter. Loaded by path, see forkserver.py; syntax of Python 3.7.

No package code runs here but pytest's, where it is to rewrite tests' assertions: files are read and compiled, and what comes of
it is sent away.
"""

import _warnings
import importlib._bootstrap_external as importing
import os
import sys
from opcode import opmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType
    from typing import Any

LIMIT = 4 << 20
"""Bytes of sources that are compiled before an import; whatever is left is compiled as it is imported."""
EXTENDED_ARG, IMPORT_NAME, LOAD_CONST = opmap["EXTENDED_ARG"], opmap["IMPORT_NAME"], opmap["LOAD_CONST"]
LOAD_SMALL_INT = opmap.get("LOAD_SMALL_INT", -1)
"""From Python 3.14 on."""


def compiled(path: str) -> "tuple[str, bytes]":
    """Return where the import system would file a source, and the bytes; raises what compiling raises."""
    return compiled_with_code(path)[1:]


def compiled_with_code(path: str) -> "tuple[CodeType, str, bytes]":
    """Return a source's code too."""
    with open(path, "rb") as source:
        text, status = source.read(), os.fstat(source.fileno())
    code = compile(text, path, "exec", dont_inherit=True)
    data = importing._code_to_timestamp_pyc(  # type: ignore[attr-defined]  # it is not in the stubs
        code, int(status.st_mtime), status.st_size
    )
    return code, importing.cache_from_source(path), bytes(data)


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
                stream.write(record(place, data))


def record(place: str, data: bytes) -> bytes:
    """Return bytecode as it is sent: the path it belongs at, size, bytecode."""
    return b"%s\0%d\0%s" % (os.fsencode(place), len(data), data)


# -- before an import ----------------------------------------------------------------------------------------------------------


def compile_first(report: int, modules: "Sequence[str]", site: str) -> None:
    """Compile what the import of modules loads from a directory, as far as its code says; file it as the import would have.

    All of it is written to a descriptor, after a zero byte. Nothing of the package has run yet, and nothing of it runs here.
    """
    if sys.implementation.name != "cpython":
        return
    filters = _warnings.filters
    filters.insert(0, ("ignore", None, Warning, None, 0))  # to show one may need modules that nobody has imported
    try:
        write_all(report, b"\0")
        for place, data in Sources(modules, site).compiled():
            write_all(report, record(place, data))
            file(place, data)
    except Exception:  # what is not compiled now is compiled when it is imported
        pass
    finally:
        del filters[0]


def has_bytecode(path: str) -> bool:
    """Return True if the import system would use the bytecode that lies beside a source (PEP 552)."""
    status = os.stat(path)
    try:
        with open(importing.cache_from_source(path), "rb") as stream:
            head = stream.read(16)
    except OSError:
        return False
    times = (int(status.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (status.st_size & 0xFFFFFFFF).to_bytes(
        4, "little"
    )
    return head == importing.MAGIC_NUMBER + bytes(4) + times


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a pipe whose reader keeps pace."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def file(place: str, data: bytes) -> None:
    """Put bytecode where the import system looks for it, unless that cannot be."""
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as stream:
            stream.write(data)
    except OSError:
        pass


class Sources:
    """The sources below a directory that the import of some modules will load: those that module-level imports lead to.

    Whatever is imported in another way, or only under a condition, may be missing or too much here.
    """

    def __init__(self, modules: "Sequence[str]", site: str) -> None:
        self.site = site
        self.tops = frozenset(os.listdir(site))
        self.waiting = list(modules)
        self.found: "dict[str, tuple[str, str]]" = {}
        self.size = 0

    def compiled(self) -> "Iterator[tuple[str, bytes]]":
        """Yield for each source that can and need be compiled the path that its bytecode belongs at, and the bytecode."""
        while self.waiting:
            name = self.waiting.pop()
            parent = name.rpartition(".")[0]
            if parent and parent not in self.found:
                self.waiting += [name, parent]
                continue
            path, package = ("", "") if name in self.found else self.located(name)
            if not path:
                continue
            if has_bytecode(path):  # as what it imports has
                continue
            self.size += os.stat(path).st_size
            if self.size > LIMIT:
                return
            try:
                code, place, data = compiled_with_code(path)
            except Exception:  # it will fail where it is imported, and be reported there
                continue
            yield place, data
            self.follow(code, package)

    def located(self, name: str) -> "tuple[str, str]":
        """Return a module's source, and the package that its relative imports begin at; nothing where there is no source."""
        top = name.partition(".")[0]
        base = self.site + "/" + name.replace(".", "/")
        self.found[name] = "", ""
        if top in self.tops or top + ".py" in self.tops:
            if os.path.isfile(base + "/__init__.py"):
                self.found[name] = base + "/__init__.py", name
            elif os.path.isfile(base + ".py"):
                self.found[name] = base + ".py", name.rpartition(".")[0]
        return self.found[name]

    def follow(self, code: "CodeType", package: str) -> None:
        """Wait for what a module imports."""
        for level, name, names in imports(code):
            above = package.rsplit(".", level - 1)[0] if level > 1 else package if level else ""
            base = ".".join(filter(None, (above, name)))
            if base:
                self.waiting += [base + "." + one for one in names or () if one != "*"]
                self.waiting.append(base)


def imports(code: "CodeType") -> "Iterator[tuple[int, str, tuple[str, ...] | None]]":
    """Yield level, module and names of a code's import statements, without those of functions and classes in it."""
    high = 0
    last: "Any" = None
    before: "Any" = None
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2]):
        argument, high = high | argument, 0
        if operation == EXTENDED_ARG:
            high = argument << 8
        elif operation == LOAD_CONST:
            last, before = code.co_consts[argument], last
        elif operation == LOAD_SMALL_INT:
            last, before = argument, last
        elif operation == IMPORT_NAME:
            yield before, code.co_names[argument], last
