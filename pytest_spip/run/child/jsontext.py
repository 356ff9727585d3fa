"""JSON, by the functions in C beneath Python's own json, which imports re, enum and more: a third of a fork server's start.

Loaded by path, see forkserver.py. Other Pythons have no such functions: there it is json itself. Syntax of Python 3.7.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    dumps: Callable[[object], str]
    loads: Callable[[str], Any]


class Context:
    """What the scanner asks of a ``json.JSONDecoder``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: "dict[str, str]" = {}  # noqa: RUF012  # as json.JSONDecoder has it


def refuse(value: object) -> "Any":
    """Raise ``TypeError`` for what JSON has no form for."""
    raise TypeError("%r has no JSON" % (value,))


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    ENCODE = make_encoder(None, refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    SCAN = make_scanner(Context)  # type: ignore[arg-type]
except (ImportError, TypeError, AttributeError):
    from json import dumps, loads
else:

    def dumps(value: object) -> str:
        """Return a value's JSON, in ASCII; raises ``TypeError``."""
        return "".join(ENCODE(value, 0))

    def loads(text: str) -> "Any":
        """Return the value of a JSON text that begins with it; raises ``ValueError``, or ``StopIteration`` for no text."""
        return SCAN(text, 0)[0]
