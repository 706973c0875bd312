"""What a BSON value becomes in a column of a given type, and what a column's text from StarRocks means.

`from_bson` raises Misfit where the conversion would lose information; nothing is rounded, cut or guessed.
Both directions end in the same comparable value, so a row is right when the two are equal.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
import struct
import uuid
from decimal import Decimal, getcontext

import canonical
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util

INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64, "LARGEINT": 128}
STRING_BYTES = 65_533
# DECIMAL has up to 38 digits, decimal128 exponents far beyond: Python's default of 28 would round.
getcontext().prec = 100
YEAR_0000 = -62_167_219_200_000
YEAR_10000 = 253_402_300_800_000
DAY_MS = 86_400_000


class Misfit(Exception):
    """The value does not fit the column."""


def from_bson(value: object, type_text: str) -> object:
    """The column's value for a BSON value that is neither absent nor null."""
    name, args = _parse(type_text)
    if name == "ARRAY":
        if not isinstance(value, list):
            raise Misfit
        return array([None if v is None else from_bson(v, args) for v in value], args)
    if name == "JSON":
        return canonical.from_bson(value)
    if name == "BOOLEAN":
        return _require(isinstance(value, bool), value)
    if name in INTEGER_BITS:
        return _integer(value, INTEGER_BITS[name])
    if name in ("FLOAT", "DOUBLE"):
        return _floating(value, name)
    if name == "DECIMAL":
        return _decimal(value, *args)
    if name == "VARCHAR":
        return _varchar(value, args)
    if name in ("DATE", "DATETIME"):
        return _moment(value, name)
    raise Misfit


def from_literal(text: str, type_text: str) -> object:
    """The column's value for a `value` or `default` literal."""
    name, _ = _parse(type_text)
    return {"true": True, "false": False}[text.lower()] if name == "BOOLEAN" else from_sql(text, type_text)


def from_sql(text: str | None, type_text: str) -> object:
    """The column's value for the text that StarRocks prints."""
    if text is None:
        return None
    name, args = _parse(type_text)
    if name == "BOOLEAN":
        return {"0": False, "1": True, "false": False, "true": True}[text]
    if name in INTEGER_BITS:
        return int(text)
    if name == "FLOAT":
        return _float32(float(text))
    if name == "DOUBLE":
        return float(text)
    if name == "DECIMAL":
        return Decimal(text).normalize() + 0
    if name == "VARCHAR":
        return text
    if name == "JSON":
        return canonical.from_json_text(text)
    if name == "DATE":
        return _date_us(text)
    if name == "DATETIME":
        return _datetime_us(text)
    if name == "ARRAY":
        if _is_text(args):
            return text
        elements = json.loads(text, parse_float=str, parse_int=str)
        return array([None if e is None else from_sql(_element_text(e), args) for e in elements], args)
    raise ValueError(f"unknown column type {type_text}")


def _is_text(element_type: str) -> bool:
    return element_type.startswith(("VARCHAR", "STRING"))


def array(elements: list, element_type: str) -> object:
    """Arrays of text compare as StarRocks prints them, because that cannot be parsed: quotes inside are not escaped."""
    if _is_text(element_type):
        return "[" + ",".join("null" if e is None else f'"{e}"' for e in elements) + "]"
    return tuple(elements)


def _element_text(element: object) -> str:
    return str(element).lower() if isinstance(element, bool) else str(element)


def _parse(type_text: str) -> tuple[str, object]:
    """Type name and its arguments: element type, length or (precision, scale)."""
    text = re.sub(r"\s+", "", type_text).upper()
    if text.startswith("ARRAY<"):
        return "ARRAY", text[len("ARRAY<") : -1]
    if text == "STRING":
        return "VARCHAR", STRING_BYTES
    name, _, rest = text.partition("(")
    numbers = [int(n) for n in rest.rstrip(")").split(",") if n]
    if name == "DECIMAL":
        return name, tuple(numbers)
    return name, numbers[0] if numbers else None


def _require(fits: bool, value: object) -> object:
    if not fits:
        raise Misfit
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _exact(value: object) -> Decimal:
    """The number's decimal text, exactly as it is written shortest; Misfit for what is no finite number."""
    if _is_int(value):
        return Decimal(int(value))
    if isinstance(value, float):
        number = Decimal(repr(value))
    elif isinstance(value, Decimal128):
        number = value.to_decimal()
    else:
        raise Misfit
    _require(number.is_finite(), number)
    return number


def _integer(value: object, bits: int) -> int:
    """Whole numbers of any numeric type, moments as milliseconds, internal timestamps in their own order."""
    if isinstance(value, DatetimeMS):
        number = Decimal(int(value))
    elif isinstance(value, Timestamp):
        number = Decimal((value.time << 32) | value.inc)
    else:
        number = _exact(value)
    _require(number == number.to_integral_value(), number)
    limit = 1 << (bits - 1)
    return int(_require(-limit <= number < limit, int(number)))


def _floating(value: object, name: str) -> float:
    """Doubles, and numbers of other types whose nearest double prints as the same number."""
    exact = _exact(value)
    result = float(exact)
    _require(math.isfinite(result), result)
    if name == "FLOAT":
        narrow = _float32(result)
        if isinstance(value, float):
            _require(narrow == result, result)
        result = narrow
    if not isinstance(value, float):
        _require(Decimal(repr(result)) == exact, result)
    return result + 0.0


def _float32(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError as error:
        raise Misfit from error


def _decimal(value: object, precision: int, scale: int) -> Decimal:
    number = _exact(value).normalize()
    digits = number.as_tuple()
    fraction = max(0, -digits.exponent)
    integer = max(0, len(digits.digits) + digits.exponent) if number else 0
    _require(fraction <= scale and integer <= precision - scale, number)
    return number + 0


def _varchar(value: object, limit: int) -> str:
    match value:
        case str() if not isinstance(value, Code):
            text = str(value)
        case ObjectId():
            text = str(value)
        case Binary() if value.subtype == 4 and len(value) == 16:
            text = str(uuid.UUID(bytes=bytes(value)))
        case bytes():
            text = base64.b64encode(value).decode()
        case Decimal128():
            text = str(value)
        case Code() | Regex() | MinKey() | MaxKey():
            text = json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS, separators=(",", ":"))
        case _:
            raise Misfit
    return str(_require(len(text.encode()) <= limit, text))


def _moment(value: object, name: str) -> int:
    """Microseconds since 1970. Text fits where it says the same moment in UTC, and a DATE only at midnight."""
    if isinstance(value, str):
        pattern = r"\d{4}-\d\d-\d\d" if name == "DATE" else r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
        _require(re.fullmatch(pattern, value) is not None, value)
        try:
            return _date_us(value) if name == "DATE" else _datetime_us(value.removesuffix("Z"))
        except ValueError as error:
            raise Misfit from error
    if not isinstance(value, DatetimeMS):
        raise Misfit
    ms = int(value)
    _require(YEAR_0000 <= ms < YEAR_10000, ms)
    if name == "DATE":
        _require(ms % DAY_MS == 0, ms)
    return ms * 1000


def _date_us(text: str) -> int:
    return _datetime_us(f"{text} 00:00:00")


def _datetime_us(text: str) -> int:
    """Microseconds of `YYYY-MM-DD HH:MM:SS[.ffffff]`, year 0000 included (Python's calendar starts at 1)."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?", text)
    if not match:
        raise ValueError(f"not a DATETIME: {text!r}")
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    # The calendar repeats every 400 years.
    shifted = dt.datetime(year + 400 * (year == 0), month, day, hour, minute, second, tzinfo=dt.timezone.utc)
    ms = canonical.millis(shifted) - (400 * 365 + 97) * DAY_MS * (year == 0)
    return ms * 1000 + int((match.group(7) or "0").ljust(6, "0"))
