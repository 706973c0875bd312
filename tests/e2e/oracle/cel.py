"""CEL as mappings use it, a second time: a small parser and an evaluator over BSON values.

What mappings promise beyond CEL: an absent field is null, a comparison with null is false (== and != aside), arithmetic with
null is null, `&& || !` are three-valued, integers and doubles promote, Decimal128 takes part in nothing but decimal().
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from decimal import Decimal

from bson import Binary, DatetimeMS, Decimal128, ObjectId

TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]]))"""
)
#: Binding strength of the operators between two operands.
STRENGTH = {"||": 1, "&&": 2, **dict.fromkeys(["==", "!=", "<", "<=", ">", ">=", "in"], 3), "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
INT_RANGE = range(-(2**63), 2**63)


class Failed(Exception):
    """The expression has no value for this document."""


class NotCel(Exception):
    """The text is not an expression this oracle understands."""


@dataclass(frozen=True)
class Node:
    kind: str
    parts: tuple


def parse(text: str) -> Node:
    parser = _Parser(text)
    node = parser.ternary()
    if parser.peek() is not None:
        raise NotCel(f"{text!r}: {parser.peek()!r} is left over")
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = TOKEN.match(text, position)
            if not match:
                raise NotCel(f"{text!r} at {position}")
            self.tokens.append((match.lastgroup or "", match.group(match.lastgroup)))
            position = match.end()

    def peek(self) -> str | None:
        return self.tokens[0][1] if self.tokens else None

    def take(self, sign: str | None = None) -> tuple[str, str]:
        if not self.tokens or (sign is not None and self.tokens[0][1] != sign):
            raise NotCel(f"{self.text!r}: expected {sign!r}, found {self.peek()!r}")
        return self.tokens.pop(0)

    def ternary(self) -> Node:
        condition = self.binary(1)
        if self.peek() != "?":
            return condition
        self.take("?")
        then = self.ternary()
        self.take(":")
        return Node("if", (condition, then, self.ternary()))

    def binary(self, least: int) -> Node:
        left = self.unary()
        while (sign := self.peek()) is not None and STRENGTH.get(sign, 0) >= least:
            self.take()
            left = Node("binary", (sign, left, self.binary(STRENGTH[sign] + 1)))
        return left

    def unary(self) -> Node:
        if self.peek() in ("!", "-"):
            return Node("unary", (self.take()[1], self.unary()))
        return self.postfix(self.primary())

    def postfix(self, node: Node) -> Node:
        while self.peek() in (".", "["):
            if self.take()[1] == "[":
                node = Node("index", (node, self.ternary()))
                self.take("]")
            elif self.tokens[1:2] and self.tokens[1][1] == "(":
                node = Node("call", (self.take()[1], (node, *self.arguments())))
            else:
                node = Node("member", (node, self.take()[1]))
        return node

    def arguments(self) -> tuple[Node, ...]:
        self.take("(")
        found: list[Node] = []
        while self.peek() != ")":
            found.append(self.ternary())
            if self.peek() != ")":
                self.take(",")
        self.take(")")
        return tuple(found)

    def primary(self) -> Node:
        kind, text = self.take()
        if kind == "number":
            return Node("literal", (float(text) if re.search(r"[.eE]", text) else int(text),))
        if kind == "text":
            quoted = text if text[0] == '"' else '"' + text[1:-1].replace('"', '\\"') + '"'
            return Node("literal", (json.loads(quoted),))
        if text == "(":
            node = self.ternary()
            self.take(")")
            return node
        if text == "[":
            items: list[Node] = []
            while self.peek() != "]":
                items.append(self.ternary())
                if self.peek() != "]":
                    self.take(",")
            self.take("]")
            return Node("list", tuple(items))
        if kind == "name" and self.peek() == "(":
            return Node("call", (text, self.arguments()))
        if text in ("true", "false", "null"):
            return Node("literal", ({"true": True, "false": False, "null": None}[text],))
        if kind == "name":
            return Node("name", (text,))
        raise NotCel(f"{self.text!r}: unexpected {text!r}")


def evaluate(node: Node, names: dict[str, object]) -> object:
    run = lambda part: evaluate(part, names)  # noqa: E731
    match node.kind, node.parts:
        case "literal", (value,):
            return value
        case "name", (name,):
            if name not in names:
                raise NotCel(f"unknown name {name}")
            return names[name]
        case "list", items:
            return [run(item) for item in items]
        case "member", (operand, name):
            return _member(run(operand), name)
        case "index", (operand, index):
            return _index(run(operand), run(index))
        case "if", (condition, then, otherwise):
            return run(then if _truth(run(condition)) is True else otherwise)
        case "unary", ("!", operand):
            truth = _truth(run(operand))
            return None if truth is None else not truth
        case "unary", ("-", operand):
            value = run(operand)
            return None if value is None else _number(value) * -1
        case "binary", ("&&" | "||" as sign, left, right):
            return _logic(sign == "||", lambda: run(left), lambda: run(right))
        case "binary", (sign, left, right):
            return _binary(sign, run(left), run(right))
        case "call", ("has", (target,)):
            if target.kind != "member":
                raise NotCel("has() wants a member")
            operand = run(target.parts[0])
            return isinstance(operand, dict) and target.parts[1] in operand
        case "call", (name, arguments):
            return _call(name, [run(argument) for argument in arguments])
    raise NotCel(f"no evaluation for {node}")


def _member(operand: object, name: str) -> object:
    return operand.get(name) if isinstance(operand, dict) else None


def _index(operand: object, index: object) -> object:
    if operand is None or index is None:
        return None
    if isinstance(operand, list) and type_of(index) == "int":
        return operand[index] if 0 <= index < len(operand) else None
    if isinstance(index, str):
        return _member(operand, index)
    raise Failed(f"a {type_of(operand)} cannot be indexed by a {type_of(index)}")


def _truth(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise Failed(f"expected true or false, found a {type_of(value)}")


def _logic(decisive: bool, left, right) -> bool | None:
    try:
        first: bool | None | Failed = _truth(left())
    except Failed as error:
        first = error
    if first is decisive:
        return decisive
    second = _truth(right())
    if second is decisive:
        return decisive
    if isinstance(first, Failed):
        raise first
    return None if first is None or second is None else not decisive


def type_of(value: object) -> str:
    """The type as the expression language names it."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case dict():
            return "object"
        case list():
            return "array"
        case Decimal128() | Decimal():
            return "decimal"
        case DatetimeMS() | dt.datetime():
            return "date"
        case ObjectId():
            return "objectId"
        case Binary():
            return "binData"
    return type(value).__name__


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Failed(f"a {type_of(value)} is no number")
    return int(value) if isinstance(value, int) else value


def _binary(sign: str, a: object, b: object) -> object:
    if sign == "==":
        return _equal(a, b)
    if sign == "!=":
        return not _equal(a, b)
    if sign == "in":
        if b is None:
            return False
        if isinstance(b, list):
            return any(_equal(item, a) for item in b)
        raise Failed(f"a {type_of(b)} contains nothing")
    if a is None or b is None:
        return False if sign in ("<", "<=", ">", ">=") else None
    if sign in ("<", "<=", ">", ">="):
        if isinstance(a, str) != isinstance(b, str):
            raise Failed("values of different types have no order")
        x, y = (a, b) if isinstance(a, str) else (_number(a), _number(b))
        return {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[sign]
    if sign == "+" and isinstance(a, str) and isinstance(b, str):
        return a + b
    return _arithmetic(sign, _number(a), _number(b))


def _arithmetic(sign: str, a: int | float, b: int | float) -> int | float:
    whole = isinstance(a, int) and isinstance(b, int)
    if sign in ("/", "%") and whole and b == 0:
        raise Failed("division by zero")
    if sign == "/" and whole:
        result: int | float = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    elif sign == "%" and whole:
        result = abs(a) % abs(b) * (-1 if a < 0 else 1)
    elif sign in ("/", "%"):
        raise NotCel(f"{sign} of doubles")
    else:
        result = a + b if sign == "+" else a - b if sign == "-" else a * b
    if whole and result not in INT_RANGE:
        raise Failed("the number is too large")
    return result


def _equal(a: object, b: object) -> bool:
    numbers = ("int", "double")
    if type_of(a) in numbers and type_of(b) in numbers:
        return a == b
    if type_of(a) != type_of(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_equal(a[name], b[name]) for name in a)
    if isinstance(a, Decimal128):
        raise Failed("a Decimal128 is computed with only through decimal()")
    return a == b


def _call(name: str, arguments: list) -> object:
    match name, arguments:
        case "type", [value]:
            return type_of(value)
        case _, [None, *_]:
            return None
        case "size", [str() | list() | dict() as value]:
            return len(value)
        case "startsWith", [str(text), str(part)]:
            return text.startswith(part)
        case "endsWith", [str(text), str(part)]:
            return text.endswith(part)
        case "contains", [str(text), str(part)]:
            return part in text
        case "startsWith" | "endsWith" | "contains" | "size", _:
            raise Failed(f"{name} of {[type_of(a) for a in arguments]}")
    raise NotCel(f"function {name}")
