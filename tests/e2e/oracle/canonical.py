"""One comparable form for values that can be spelled in several ways.

JSON may carry Extended JSON in its v1 strict or v2 relaxed spelling; numbers compare by value; object members have no
order. Everything becomes a tagged tuple, so that `true` and `1`, or the text "NaN" and the number, never compare equal.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
from decimal import Decimal

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)


def from_bson(value: object) -> tuple:
    """The canonical form of a value as MongoDB holds it."""
    match value:
        case None:
            return ("null",)
        case bool():
            return ("bool", value)
        case Int64() | int():
            return ("number", int(value))
        case float():
            return _number(value)
        case Code():
            return ("code", str(value))
        case str():
            return ("string", value)
        case ObjectId():
            return ("oid", str(value))
        case DatetimeMS():
            return ("date", int(value))
        case dt.datetime():
            return ("date", millis(value))
        case Decimal128():
            return ("decimal", _decimal_text(str(value)))
        case Binary():
            return ("binary", base64.b64encode(bytes(value)).decode(), value.subtype)
        case bytes():
            return ("binary", base64.b64encode(value).decode(), 0)
        case Regex():
            return ("regex", value.pattern)
        case Timestamp():
            return ("timestamp", value.time, value.inc)
        case MinKey():
            return ("minKey",)
        case MaxKey():
            return ("maxKey",)
        case dict():
            return document({k: from_bson(v) for k, v in value.items()})
        case list():
            return ("array", tuple(from_bson(v) for v in value))
    raise TypeError(f"no canonical form for BSON {type(value).__name__}")


def from_json_text(text: str) -> tuple:
    """The canonical form of JSON text, Extended JSON of both dialects understood."""
    return _from_json(json.loads(text, parse_float=_exact_float))


def _exact_float(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


def _from_json(value: object) -> tuple:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("bool", value)
        case int():
            return ("number", value)
        case float():
            return _number(value)
        case str():
            return ("string", value)
        case list():
            return ("array", tuple(_from_json(v) for v in value))
        case dict():
            extended = _extended(value)
            return extended if extended else document({k: _from_json(v) for k, v in value.items()})
    raise TypeError(type(value).__name__)


def _extended(value: dict) -> tuple | None:
    """`{"$oid": …}` and its kin; None for an ordinary object."""
    match value:
        case {"$oid": str(text)}:
            return ("oid", text)
        case {"$numberLong": str(text)} | {"$numberInt": str(text)}:
            return ("number", int(text))
        case {"$numberDouble": str(text)}:
            return _number(float(text))
        case {"$numberDecimal": str(text)}:
            return ("decimal", _decimal_text(text))
        case {"$date": {"$numberLong": str(text)}}:
            return ("date", int(text))
        case {"$date": int(ms)}:
            return ("date", ms)
        case {"$date": str(text)}:
            return ("date", millis(dt.datetime.fromisoformat(text.replace("Z", "+00:00"))))
        case {"$uuid": str(text)}:
            return ("binary", base64.b64encode(uuid.UUID(text).bytes).decode(), 4)
        case {"$binary": {"base64": str(data), "subType": str(subtype)}}:
            return ("binary", data, int(subtype, 16))
        case {"$binary": str(data), "$type": str(subtype)}:
            return ("binary", data, int(subtype, 16))
        case {"$regularExpression": {"pattern": str(pattern)}} | {"$regex": str(pattern)}:
            return ("regex", pattern)
        case {"$timestamp": {"t": int(t), "i": int(i)}}:
            return ("timestamp", t, i)
        case {"$minKey": 1}:
            return ("minKey",)
        case {"$maxKey": 1}:
            return ("maxKey",)
        case {"$code": str(text)}:
            return ("code", text)
    return None


def type_name(value: object) -> str:
    """MongoDB's `$type` alias."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case Int64():
            return "long"
        case int():
            return "int"
        case float():
            return "double"
        case Code():
            return "javascript"
        case str():
            return "string"
    for kind, name in TYPE_NAMES.items():
        if isinstance(value, kind):
            return name
    raise TypeError(f"no $type alias for {type(value).__name__}")


TYPE_NAMES = {
    ObjectId: "objectId",
    DatetimeMS: "date",
    Decimal128: "decimal",
    bytes: "binData",
    Regex: "regex",
    Timestamp: "timestamp",
    MinKey: "minKey",
    MaxKey: "maxKey",
    dict: "object",
    list: "array",
}


def document(members: dict) -> tuple:
    return ("document", tuple(sorted(members.items())))


def _number(value: float) -> tuple:
    if math.isnan(value) or math.isinf(value):
        return ("float", repr(value))
    return ("number", int(value) if value.is_integer() else value)


def _decimal_text(text: str) -> str:
    """One spelling per decimal128. `12.34` and `12.340` are two: they keep their scale."""
    return str(Decimal(text))


def millis(value: dt.datetime) -> int:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    delta = aware - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def show(form: tuple | None) -> str:
    """Short text of a canonical form for a report."""
    text = "absent" if form is None else json.dumps(form, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else text[:197] + "…"
