"""Runs inside an environment's interpreter, by path: calls a function that was written elsewhere, and sends what came of it.

    python -I -u call.py RESULT NONCE < QUESTION

QUESTION is JSON: "source" of the function, dedented, "name", "file" and "line" where it begins, "args" and "kwargs".
RESULT is a descriptor to write the answer to: the nonce, read from the descriptor NONCE unless that is -1, a zero byte, and

    {"value": DATA}      or {"unfit": TEXT}, what the function did instead of returning plain data
    {"raised": TYPE, "message": TEXT, "notes": TEXTS, "frames": [[FILE, LINE, NAME, TEXT], ...], "compared": COMPARED}

DATA is written as ``packed`` has it. COMPARED is null, or for a failed assertion that compares two values [OPERATOR, LEFT,
RIGHT, BEFORE, BEHIND], BEFORE and BEHIND being what the message says around the comparison. An assertion shows its values
as pytest's do: its expression is compiled such that it leaves behind what its parts came to.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import ast
import json
import linecache
import os
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    from pytest_spip.run.protocol import QuestionMessage

    _Argument = TypeVar("_Argument")
    _Result = TypeVar("_Result")

SEEN, EXPLANATION = "@spip_seen", "@spip_explanation"
"""Names that no source can have."""
SCALARS = (type(None), bool, int, float, str)
SEQUENCES: "dict[type, str]" = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
LARGEST, LONGEST, DEEPEST = 1000000, 240, 64
OPERATORS: "dict[type[ast.AST], str]" = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.BitAnd: "&",
    ast.MatMult: "@",
    ast.Invert: "~",
    ast.UAdd: "+",
    ast.USub: "-",
    ast.Not: "not ",
}


def packed(value: "Any", depth: int = 0) -> "Any":
    """Return plain data as JSON holds it, whatever its containers are; raises ``TypeError`` for what is none."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if depth > DEEPEST:
        raise TypeError("data nested more than %d deep" % DEEPEST)
    if kind in SEQUENCES:
        return {SEQUENCES[kind]: [packed(one, depth + 1) for one in value]}
    if kind is dict:
        return {"dict": [[packed(key, depth + 1), packed(one, depth + 1)] for key, one in value.items()]}
    if kind is bytes:
        return {"bytes": value.decode("latin-1")}
    raise TypeError("%s object" % name_of(kind))


def unpacked(plain: "Any") -> "Any":
    """Return what ``packed`` was given."""
    if not isinstance(plain, dict):
        return plain
    ((kind, held),) = plain.items()
    if kind == "bytes":
        return held.encode("latin-1")
    if kind == "dict":
        return {unpacked(key): unpacked(value) for key, value in held}
    makers = {name: maker for maker, name in SEQUENCES.items()}
    return makers[kind](unpacked(one) for one in held)


# -- assertions that tell their values ---------------------------------------------------------------------------------------


class Explanation(str):  # noqa: SLOT000  # a str has no room for slots of any use here
    """An assertion's message; ``compared`` as in the answer."""

    compared: "list[Any] | None" = None


class Assertions(ast.NodeTransformer):
    """Rewrites a function's assertions, and knows of each what to say when it fails."""

    def __init__(self, namespace: "dict[str, Any]") -> None:
        self.tests: "list[ast.expr]" = []
        self.values: "dict[int, dict[int, object]]" = {}
        self.count = 0
        namespace[SEEN], namespace[EXPLANATION] = self.seen, self.explanation

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        """Have the expression leave its values behind, and the message be made of them."""
        self.tests.append(node.test)
        words = [ast.Constant(len(self.tests) - 1)] + ([node.msg] if node.msg is not None else [])
        explanation = ast.Call(ast.Name(EXPLANATION, ast.Load()), words, [])
        begin = ast.Call(ast.Name(SEEN, ast.Load()), [ast.Constant(-1), ast.Constant(True)], [])
        test = ast.BoolOp(ast.And(), [begin, self.watched(node.test)])
        return ast.fix_missing_locations(ast.copy_location(ast.Assert(test, explanation), node))

    def seen(self, key: int, value: object) -> object:
        """Keep what a part of an expression came to, for the frame it is in; the key -1 begins an assertion."""
        frame = id(sys._getframe(1))
        if key < 0:
            self.values[frame] = {}
        else:
            self.values[frame][key] = value
        return value

    def explanation(self, number: int, *message: object) -> Explanation:
        """Return the message of an assertion that failed."""
        failure_text = FailureText(self.values[id(sys._getframe(1))], sys._getframe(1).f_locals)
        test = self.tests[number]
        text = failure_text.of(test, 0)
        before = "%s\n" % shown_text(message[0]) if message else ""
        behind = "".join("\n" + line for line in failure_text.lines())
        explanation = Explanation("%sassert %s%s" % (before, text, behind))
        explanation.compared = self.compared(failure_text, test, before, behind)
        return explanation

    def compared(self, failure_text: "FailureText", test: ast.expr, before: str, behind: str) -> "list[Any] | None":
        """Return the two values of a comparison that are plain data, small enough to be carried."""
        if not isinstance(test, ast.Compare) or len(test.ops) > 1:
            return None
        try:
            values = [packed(failure_text.value(side)) for side in (test.left, test.comparators[0])]
        except (TypeError, KeyError, ValueError):
            return None
        compared = [OPERATORS[type(test.ops[0])], *values, before, behind]
        return compared if len(json.dumps(compared)) < LARGEST // 4 else None

    def watched(self, node: ast.expr) -> ast.expr:
        """Return an expression of the same value that leaves it behind, and those of its parts."""
        if is_literal(node):
            return node
        self.count += 1
        node.key = self.count  # type: ignore[attr-defined]
        call = ast.Call(ast.Name(SEEN, ast.Load()), [ast.Constant(self.count), self.rebuilt(node)], [])
        return ast.copy_location(call, node)

    def rebuilt(self, node: ast.expr) -> ast.expr:
        """Return a node whose parts are watched, as far as they are evaluated once, here and now."""
        made: ast.expr
        if isinstance(node, ast.Compare):
            made = ast.Compare(self.watched(node.left), node.ops, [self.watched(one) for one in node.comparators])
        elif isinstance(node, ast.BoolOp):
            made = ast.BoolOp(node.op, [self.watched(one) for one in node.values])
        elif isinstance(node, ast.UnaryOp):
            made = ast.UnaryOp(node.op, self.watched(node.operand))
        elif isinstance(node, ast.BinOp):
            made = ast.BinOp(self.watched(node.left), node.op, self.watched(node.right))
        elif isinstance(node, ast.Attribute):
            made = ast.Attribute(self.watched(node.value), node.attr, node.ctx)
        elif isinstance(node, ast.Subscript):
            made = ast.Subscript(self.watched(node.value), node.slice, node.ctx)
        elif isinstance(node, ast.Call):
            function = self.rebuilt(node.func) if isinstance(node.func, ast.Attribute) else node.func
            keywords = [ast.keyword(one.arg, self.watched(one.value)) for one in node.keywords]
            made = ast.Call(function, [self.argument(one) for one in node.args], keywords)
        else:
            return node
        return ast.copy_location(made, node)

    def argument(self, node: ast.expr) -> ast.expr:
        """Return a watched argument; a starred one is no value by itself."""
        if isinstance(node, ast.Starred):
            return ast.copy_location(ast.Starred(self.watched(node.value), node.ctx), node)
        return self.watched(node)


class FailureText:
    """Puts an expression that was evaluated into words: its values, and where they come from."""

    def __init__(self, values: "Mapping[int, object]", names: "Mapping[str, object]") -> None:
        self.values = values
        self.names = names
        self.wheres: "list[tuple[int, str]]" = []

    def value(self, node: ast.expr) -> object:
        """Return what an expression came to; raises ``KeyError`` where it was not evaluated."""
        return ast.literal_eval(node) if is_literal(node) else self.values[node.key]  # type: ignore[attr-defined]

    def of(self, node: ast.expr, depth: int) -> str:
        """Return an expression's words."""
        if isinstance(node, ast.Compare):
            words = [self.of(node.left, depth)]
            for operator, right in zip(node.ops, node.comparators):
                if not self.has(right):
                    break
                words += [OPERATORS[type(operator)], self.of(right, depth)]
            return " ".join(words)
        if isinstance(node, ast.BoolOp):
            word = " and " if isinstance(node.op, ast.And) else " or "
            return "(%s)" % word.join(self.of(one, depth) for one in node.values if self.has(one))
        if isinstance(node, ast.UnaryOp) and not is_literal(node):
            return OPERATORS[type(node.op)] + self.of(node.operand, depth)
        if isinstance(node, ast.BinOp):
            sides = self.of(node.left, depth), self.of(node.right, depth)
            return "(%s %s %s)" % (sides[0], OPERATORS[type(node.op)], sides[1])
        return self.simple(node, depth)

    def simple(self, node: ast.expr, depth: int) -> str:
        """Return the value of an expression in words; of a call and an attribute also where it comes from."""
        shown = shown_value(self.value(node))
        if isinstance(node, ast.Name) and node.id not in self.names:
            return node.id
        if isinstance(node, (ast.Call, ast.Attribute)):
            at = len(self.wheres)
            self.wheres.append((depth, ""))
            self.wheres[at] = depth, "%s = %s" % (shown, self.origin(node, depth + 1))
        return shown

    def origin(self, node: "ast.Call | ast.Attribute", depth: int) -> str:
        """Return a call or an attribute with the values of its parts."""
        if isinstance(node, ast.Attribute):
            return "%s.%s" % (self.of(node.value, depth), node.attr)
        if isinstance(node.func, ast.Attribute):
            function = self.origin(node.func, depth)
        else:
            function = node.func.id if isinstance(node.func, ast.Name) else "..."
        words = [
            "*" + self.of(one.value, depth) if isinstance(one, ast.Starred) else self.of(one, depth)
            for one in node.args
        ]
        words += [(one.arg + "=" if one.arg else "**") + self.of(one.value, depth) for one in node.keywords]
        return "%s(%s)" % (function, ", ".join(words))

    def has(self, node: ast.expr) -> bool:
        """Tell whether an expression was evaluated."""
        return is_literal(node) or node.key in self.values  # type: ignore[attr-defined]

    def lines(self) -> "Iterator[str]":
        """Return where values come from, one a line, what belongs to a value below it."""
        last: "dict[int, bool]" = {}
        for depth, text in self.wheres:
            word = "and  " if last.get(depth) else "where"
            last = {known: True for known in last if known < depth}
            last[depth] = True
            yield " +  %s%s %s" % ("  " * depth, word, text)


def is_literal(node: ast.expr) -> bool:
    """Tell whether an expression is its own value."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def shown_value(value: object) -> str:
    """Return a value in words, the middle of long ones left out."""
    text = attempt(repr, value, "<an object whose repr fails>")
    return text if len(text) <= LONGEST else text[: LONGEST // 2] + "..." + text[-LONGEST // 2 :]


def shown_text(value: object) -> str:
    """Return a message in words."""
    return attempt(str, value, "<an object whose str fails>") if isinstance(value, str) else shown_value(value)


# -- the call ----------------------------------------------------------------------------------------------------------------


def attempt(function: "Callable[[_Argument], _Result]", argument: "_Argument", otherwise: "_Result") -> "_Result":
    """Call a function that runs a package's code; whatever that raises, even to exit, is not ours to pass on."""
    try:
        return function(argument)
    except BaseException:
        return otherwise


def name_of(kind: type) -> str:
    """Name a type as tracebacks do."""
    return kind.__name__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__name__)


def made(question: "QuestionMessage", namespace: "dict[str, Any]") -> "Any":
    """Return the function, compiled as if it stood where it stands."""
    source = "\n" * (question["line"] - 1) + question["source"]
    linecache.cache[question["file"]] = len(source), None, source.splitlines(True), question["file"]
    tree = ast.parse(source, question["file"])
    function: ast.FunctionDef = tree.body[0]  # type: ignore[assignment]  # the worker sends nothing else
    function.decorator_list = []
    bare(function)
    exec(compile(Assertions(namespace).visit(tree), question["file"], "exec"), namespace)
    return namespace[question["name"]]


def bare(function: "ast.FunctionDef") -> None:
    """Take the annotations off: they may name what is not here."""
    function.returns = None
    signature = function.args
    more = [signature.vararg] if signature.vararg else []
    more += [signature.kwarg] if signature.kwarg else []
    for argument in getattr(signature, "posonlyargs", []) + signature.args + signature.kwonlyargs + more:
        argument.annotation = None


def frames_of(error: BaseException) -> "list[list[Any]]":
    """Return file, line, name and text of each frame but ours, the outermost first."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        code, line = trace.tb_frame.f_code, trace.tb_lineno
        if code.co_filename != __file__ and not code.co_filename.startswith("<frozen importlib"):
            frames.append([code.co_filename, line, code.co_name, linecache.getline(code.co_filename, line).strip()])
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        frames.append([error.filename, error.lineno or 1, "<module>", (error.text or "").strip()])
    return frames if len(frames) <= 40 else frames[:20] + frames[-20:]


def causes_of(error: BaseException) -> "Iterator[str]":
    """Yield what an exception came of, one line each."""
    for _ in range(8):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return
        error = cause
        message = attempt(str, error, "(its message cannot be had)")[:1000]
        yield ("%s: %s" % (name_of(type(error)), message)).rstrip(": ").splitlines()[0]


def failure(error: BaseException) -> "dict[str, Any]":
    """Return the answer for an exception."""
    explanation = error.args[0] if type(error) is AssertionError and error.args else None
    message = attempt(str, error, "(its message cannot be had)")[:65536]
    nothing: "list[Any]" = []
    return {
        "raised": attempt(name_of, type(error), "BaseException")[:500],
        "message": message,
        "notes": attempt(lambda one: list(causes_of(one)), error, nothing),
        "frames": attempt(frames_of, error, nothing),
        "compared": explanation.compared if isinstance(explanation, Explanation) else None,
    }


def answer(question: "QuestionMessage") -> "dict[str, Any]":
    """Call the function and return the answer."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        args, kwargs = unpacked(question["args"]), unpacked(question["kwargs"])
        value = made(question, vars(main))(*args, **kwargs)
    except BaseException as error:
        return failure(error)
    try:
        plain = {"value": packed(value)}
    except TypeError as error:
        return {"unfit": "returned a %s" % error}
    size = len(json.dumps(plain))
    return plain if size < LARGEST else {"unfit": "returned %d bytes of data, more than %d" % (size, LARGEST)}


def main(result: int, nonce: int) -> None:
    """Read the question, answer it, and end as an interpreter does."""
    with os.fdopen(os.dup(0), encoding="utf-8", errors="surrogatepass") as stream:
        question = json.load(stream)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.argv[:] = ["-c"]
    sys.path.insert(0, "")
    process = os.getpid()
    reply = json.dumps(answer(question)).encode()
    if os.getpid() != process:
        os._exit(0)  # a child that the function forked has nothing to tell
    data = (os.read(nonce, 64) + b"\0" if nonce >= 0 else b"") + reply
    while data:
        data = data[os.write(result, data) :]


main(int(sys.argv[1]), int(sys.argv[2]))
