"""The mapping of DESIGN §3, written a second time: one final document becomes the row that each table must hold."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass

import canonical
import cel
import convert
from bson import Binary, DatetimeMS, Int64, ObjectId
from bson import json_util
from manifests import Column, Feed, Unsupported

ABSENT = object()
#: Names that a path holds without brackets.
PLAIN = re.compile(r'[^$.\[\]"\\][^.\[\]"\\]*')
#: Sources inside the exploded element: `$element`, `$element.a.b`, `$element["odd.name"]`.
IN_ELEMENT = re.compile(r"\$element(\.|(?=\[)|$)")
#: Sources that only the event knows. The final state cannot tell them, so rows are checked for plausibility instead.
VOLATILE = {"$op", "$source.ts", "$partition", "$offset"}

KEY_TYPES = {
    "ObjectId": lambda v: isinstance(v, ObjectId),
    "String": lambda v: isinstance(v, str),
    "Int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "Uuid": lambda v: isinstance(v, Binary) and v.subtype == 4,
    "Date": lambda v: isinstance(v, (DatetimeMS, dt.datetime)),
}


class Parked(Exception):
    """No row can be made of the document as it is; what the table shows of it depends on `onReject`."""


class Unidentified(Parked):
    """No state of this document can be in the table."""


@dataclass(frozen=True)
class Anything:
    """A value that only the event knows."""

    source: str

    def accepts(self, value: object) -> bool:
        return value in ("r", "c", "u") if self.source == "$op" else value is not None


@dataclass(frozen=True)
class Element:
    """One element of the array that a table explodes, and its place there."""

    value: object
    ordinal: int


def rows(document: dict, feed: Feed) -> list[dict[str, object]]:
    """The table's rows of this document."""
    if feed.where is not None and not _holds(feed.where, document, feed):
        return []
    if feed.explode is None:
        return [row(document, feed)]
    array = lookup(document, parse_path(feed.explode))
    if array is ABSENT or array is None:
        return []
    if not isinstance(array, list):
        raise Parked(f"{feed.explode} is no array")
    return [row(document, feed, Element(value, ordinal)) for ordinal, value in enumerate(array)]


def _holds(condition: cel.Node, document: dict, feed: Feed) -> bool:
    try:
        return cel.evaluate(condition, _names(document, feed, None)) is True
    except cel.Failed:
        raise Parked("where cannot be decided") from None


def _names(document: dict, feed: Feed, element: Element | None) -> dict[str, object]:
    meta = {"tenant": feed.tenant, "dataset": feed.dataset, "topic": feed.topic}
    names = {"doc": document, "key": document["_id"], "meta": meta}
    if element is not None:
        meta["ordinal"] = element.ordinal
        names["element"] = element.value
    return names


def row(document: dict, feed: Feed, element: Element | None = None) -> dict[str, object]:
    """Column values of one row, `_extra` included."""
    values: dict[str, object] = {}
    misfits: dict[str, object] = {}
    for column in feed.columns:
        values[column.name] = _value(document, column, feed, element, misfits)
    if element is None:
        extra = unmapped(document, [parse_path(c.source) for c in feed.columns if _reads_path(c)])
    else:
        extra = unmapped_of_element(element.value, feed)
    extra.update(misfits)
    values["_extra"] = canonical.document({path: _kept(v) for path, v in extra.items()}) if extra else None
    return values


def _kept(value: object) -> tuple:
    """How `_extra` holds a value: `{"v": <value>, "t": "<BSON type>"}`."""
    return canonical.document({"v": canonical.from_bson(value), "t": ("string", canonical.type_name(value))})


def _reads_path(column: Column) -> bool:
    return column.source is not None and not column.source.startswith("$")


def _value(document: dict, column: Column, feed: Feed, element: Element | None, misfits: dict) -> object:
    if column.value is not None:
        return convert.from_literal(column.value, column.type)
    if column.expr is not None:
        return _computed(document, column, feed, element, misfits)
    if element is not None and column.source == "$ordinal":
        return element.ordinal
    in_element = element is not None and column.source is not None and IN_ELEMENT.match(column.source)
    if not in_element and not _reads_path(column):
        return _meta(document, column, feed)
    path = parse_path(column.source[in_element.end():] if in_element else column.source)
    found = lookup(element.value if in_element else document, path)
    if column.bson and not KEY_TYPES[column.bson](found):
        raise Unidentified(f"_id is not {column.bson}")
    if found is ABSENT or found is None:
        if column.key:
            raise Parked(f"{column.name} has no value")
        return _default(column)
    try:
        return convert.from_bson(found, column.type)
    except convert.Misfit:
        if column.key and path == ("_id",) and not in_element:
            raise Unidentified(f"_id does not fit {column.type}") from None
        if column.on_error == "Reject":
            raise Parked(column.name) from None
        if column.on_error == "Overflow":
            misfits[_in_element(path) if in_element else print_path(path)] = found
        return None


def _computed(document: dict, column: Column, feed: Feed, element: Element | None, misfits: dict) -> object:
    try:
        found = cel.evaluate(column.expr, _names(document, feed, element))
    except cel.Failed:
        if column.on_error != "SetNull":
            raise Unsupported(f"column {column.name}: an expression without a value and onError: {column.on_error}") from None
        return None
    try:
        return _default(column) if found is None else convert.from_bson(found, column.type)
    except convert.Misfit:
        if column.on_error == "Reject":
            raise Parked(column.name) from None
        if column.on_error == "Overflow":
            misfits[f"$expr.{column.name}"] = found
        return None


def _default(column: Column) -> object:
    return None if column.default is None else convert.from_literal(column.default, column.type)


def _meta(document: dict, column: Column, feed: Feed) -> object:
    source = column.source
    if source in VOLATILE:
        return Anything(source)
    if source == "$key.time":
        generated = document["_id"].generation_time
        if column.type.upper() == "DATE":
            generated = generated.replace(hour=0, minute=0, second=0)
        return canonical.millis(generated) * 1000
    texts = {"$tenant": feed.tenant, "$dataset": feed.dataset, "$topic": feed.topic}
    if source == "$key":
        return key_text(document["_id"])
    if source not in texts:
        raise Unsupported(f"column {column.name}: from {source}")
    return texts[source]


def key_text(identity: object) -> str:
    """The `id` member of Debezium's key: relaxed Extended JSON v2 with one blank after each colon."""
    if isinstance(identity, Int64):
        return str(int(identity))
    options = json_util.RELAXED_JSON_OPTIONS
    return json.dumps(json_util._json_convert(identity, options), separators=(",", ": "), ensure_ascii=False)


# Paths -----------------------------------------------------------------------------------------------------------

TOKEN = re.compile(r"""(?:^|\.)([^.\[\]]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]""")


def parse_path(text: str) -> tuple[str | int, ...]:
    """`a.b.c`, `a[0].b`, `a["odd.name"]` as a sequence of names and indexes."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise Unsupported(f"path {text!r} at {position}")
        name, index, quoted = match.groups()
        steps.append(int(index) if index is not None else name if name is not None else json.loads(f'"{quoted}"'))
        position = match.end()
    return tuple(steps)


def print_path(steps: tuple[str | int, ...]) -> str:
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def lookup(document: object, steps: tuple[str | int, ...]) -> object:
    found = document
    for step in steps:
        if isinstance(step, int):
            if not isinstance(found, list) or step >= len(found):
                return ABSENT
            found = found[step]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            return ABSENT
    return found


def unmapped(document: dict, mapped: list[tuple[str | int, ...]]) -> dict[str, object]:
    """The largest subtrees that no column reads, by path. `_id` is the row's identity and never among them."""
    kept: dict[str, object] = {}
    _collect(document, (), {*mapped, ("_id",)}, kept)
    return kept


def unmapped_of_element(value: object, feed: Feed) -> dict[str, object]:
    """The largest subtrees of an exploded element that no column reads. The rest of the document is another table's matter."""
    sources = [c.source for c in feed.columns if c.source is not None]
    mapped = {parse_path(s[m.end():]) for s in sources if (m := IN_ELEMENT.match(s))}
    if () in mapped:
        return {}
    if not isinstance(value, dict):
        return {"$element": value}
    kept: dict[tuple, object] = {}
    for name, child in value.items():
        _collect(child, (name,), mapped, kept, tuple)
    return {_in_element(path): child for path, child in kept.items()}


def _in_element(path: tuple[str | int, ...]) -> str:
    text = print_path(path)
    return f"$element{text}" if text.startswith("[") or not text else f"$element.{text}"


def _collect(node: object, here: tuple, mapped: set, kept: dict, name_of=print_path) -> None:
    if here in mapped:
        return
    below = [path for path in mapped if path[: len(here)] == here]
    if here and not below:
        kept[name_of(here)] = node
        return
    names, indexes = (any(isinstance(path[len(here)], kind) for path in below) for kind in (str, int))
    if isinstance(node, dict) and names:
        for name, child in node.items():
            _collect(child, (*here, name), mapped, kept, name_of)
    elif isinstance(node, list) and indexes:
        for index, child in enumerate(node):
            _collect(child, (*here, index), mapped, kept, name_of)
    else:
        # Columns expect members below, but the document holds something else here: keep it rather than lose it.
        kept[name_of(here)] = node
