"""Random shop documents: nested, with missing fields, mixed types and values that fit no column.

One function per collection makes a whole document; one makes the `$set`/`$unset` of an update. The identity's type is
fixed per collection, because tables declare it (`bson:`).
"""

from __future__ import annotations

import datetime as dt
import random
import uuid

from bson import Binary, Decimal128, Int64, ObjectId

CITIES = ["Berlin", "Graz", "Malmö", "東京", "São Paulo", "Kraków", "Łódź", "Reykjavík"]
COUNTRIES = ["DE", "AT", "SE", "JP", "BR", "PL", "IS"]
STATUSES = ["new", "paid", "packed", "shipped", "returned"]
WORDS = ["red", "blue", "fragile", "gift", "b2b", "😀", "quote\"d", "back\\slash", "line\nbreak", "tab\t", "nul-free", "\u2028"]
START = dt.datetime(2019, 1, 1, tzinfo=dt.timezone.utc)


def identity(rng: random.Random, collection: str) -> object:
    if collection == "products":
        return f"sku-{rng.getrandbits(48):012x}"
    created = int(START.timestamp()) + rng.randrange(200_000_000)
    return ObjectId(created.to_bytes(4, "big") + rng.randbytes(8))


def document(rng: random.Random, collection: str) -> dict:
    fields = {"customers": _customer, "orders": _order, "products": _product}[collection](rng)
    return {name: value for name, value in fields.items() if rng.random() > 0.08}


def update(rng: random.Random, collection: str) -> dict:
    """An update of parts of a document: whole fields, one nested member, one field taken away; or of an array in place.

    Paths never overlap.
    """
    if collection in ARRAYS and rng.random() < 0.3:
        return _array_update(rng, collection)
    fresh = document(rng, collection)
    change: dict = {"$set": {name: fresh[name] for name in rng.sample(sorted(fresh), k=min(len(fresh), 2))}}
    touched = set(change["$set"])
    nested = [path for path in NESTED[collection] if path.split(".")[0] not in touched]
    if nested and rng.random() < 0.5:
        path = rng.choice(nested)
        change["$set"][path] = rng.choice([_text(rng), None, rng.randint(-5, 5), {"deep": [_text(rng), 1.5]}])
        touched.add(path.split(".")[0])
    removable = [name for name in TOP[collection] if name not in touched]
    if removable and rng.random() < 0.4:
        change["$unset"] = {rng.choice(removable): ""}
    return {operator: fields for operator, fields in change.items() if fields}


def _array_update(rng: random.Random, collection: str) -> dict:
    """Grows an array, shrinks it from either end, empties it, or changes a member or an element of it."""
    path, fresh, member = ARRAYS[collection]
    element = fresh(rng)
    # A document may hold something else there, or nothing: then the server refuses, which the workload counts.
    return rng.choice([
        {"$push": {path: element}},
        {"$push": {path: {"$each": [element, fresh(rng), fresh(rng)]}}},
        {"$pop": {path: 1}},
        {"$pop": {path: -1}},
        {"$set": {path: []}},
        {"$set": {f"{path}.0{member}": rng.choice([_text(rng), rng.randint(-5, 5), None])}},
        {"$set": {path: [fresh(rng) for _ in range(rng.randint(1, 12))]}},
        {"$push": {path: {"$each": [], "$slice": 1}}},
    ])


NESTED = {
    # Members of these objects are set one by one; a document may hold a scalar there, then the server refuses the
    # update and the workload counts it as skipped.
    "customers": ["profile.address.city", "profile.address.country", "profile.flags.vip", "profile.note"],
    "orders": ["shipping.address.city", "shipping.carrier", "meta.salesChannel"],
    "products": ["dimensions.weight", "dimensions.unit", "stock.count"],
}
TOP = {
    "customers": ["email", "createdAt", "loyalty", "score"],
    "orders": ["status", "total", "placedAt", "coupon", "items"],
    "products": ["name", "price", "ean", "active", "labels"],
}


def _line(rng: random.Random) -> object:
    return {"sku": _word(rng), "qty": rng.randint(1, 9), "price": _money(rng)}


#: Arrays that are changed in place: path, a new element, the member of an element that is changed alone.
ARRAYS = {
    "customers": ("profile.tags", lambda rng: _text(rng), ""),
    "orders": ("items", _line, ".qty"),
    "products": ("labels", lambda rng: rng.choice(WORDS), ""),
}


def _customer(rng: random.Random) -> dict:
    return {
        "email": rng.choice([f"{_word(rng)}@example.com", f"{_word(rng)}@example.com", rng.randint(1, 9), "x" * 400]),
        "profile": _mostly(rng, {
            "address": _mostly(rng, {"city": rng.choice(CITIES), "country": rng.choice([*COUNTRIES, "Germany"]), "zip": _word(rng)}, "no fixed address"),
            "flags": {"vip": rng.choice([True, False, "yes", 1]), "beta": rng.random() < 0.5},
            "tags": rng.choice([[_text(rng) for _ in range(rng.randint(0, 4))], [1, "mixed"], None, "none"]),
            "ref": ObjectId(rng.randbytes(12)),
        }, None),
        "createdAt": _date(rng),
        "loyalty": rng.choice([rng.randint(-(2**31), 2**31 - 1), Int64(2**53 + rng.randint(1, 9)), 3.0, 3.5, float("nan"), "gold"]),
        "score": rng.choice([rng.random(), rng.random() * 1e300, float("inf"), -0.0, 7, Int64(2**60 + 1)]),
        "external": Binary(uuid.UUID(int=rng.getrandbits(128), version=4).bytes, 4),
    }


def _order(rng: random.Random) -> dict:
    return {
        "status": rng.choice([*STATUSES, rng.randint(0, 4), None]),
        "total": _money(rng),
        "placedAt": _date(rng),
        "shipping": _mostly(rng, {"address": {"city": rng.choice(CITIES), "lines": [_text(rng), _text(rng)]}, "carrier": _word(rng)}, [1, 2]),
        "meta": {"salesChannel": rng.choice(["web", "shop", 7]), "ip": f"10.0.0.{rng.randint(0, 255)}"},
        "channel": rng.choice(["phone", "fax"]),
        "items": [_line(rng) for _ in range(rng.randint(0, 4))],
        "coupon": rng.choice([None, "", _text(rng), {"code": _word(rng), "percent": rng.randint(1, 50)}]),
        "customerId": ObjectId(rng.randbytes(12)),
    }


def _product(rng: random.Random) -> dict:
    return {
        "name": _text(rng),
        "price": _money(rng),
        "ean": Int64(rng.randint(10**12, 10**13)),
        "active": rng.choice([True, False]),
        "dimensions": _mostly(rng, {"weight": rng.choice([rng.random(), rng.randint(1, 90), "heavy"]), "unit": rng.choice(["kg", "g"])}, {}),
        "stock": {"count": rng.choice([rng.randint(0, 999), Int64(2**40)]), "sites": {f"site {i}": rng.randint(0, 9) for i in range(rng.randint(0, 3))}},
        "labels": [rng.choice(WORDS) for _ in range(rng.randint(0, 3))],
        "released": _date(rng),
        "odd.name": _text(rng),
    }


def _mostly(rng: random.Random, usual: object, rare: object) -> object:
    return usual if rng.random() > 0.04 else rare


def _money(rng: random.Random) -> object:
    cents = rng.randint(-100_000, 10_000_000)
    return rng.choice([
        Decimal128(f"{cents / 100:.2f}"), Decimal128(f"{cents / 1000:.3f}"), Decimal128("1E+40"), cents, cents / 100, f"{cents} EUR",
    ])


def _date(rng: random.Random) -> object:
    usual = START + dt.timedelta(milliseconds=rng.randint(0, 200_000_000_000))
    text = usual.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return rng.choice([usual, usual, usual, text, usual.isoformat(), f"{text[:10]}", dt.datetime(1955, 11, 5, 6, 15, tzinfo=dt.timezone.utc), usual.replace(hour=0, minute=0, second=0, microsecond=0)])


def _word(rng: random.Random) -> str:
    return f"{rng.choice(['ant', 'bee', 'cat', 'dog', 'elk'])}{rng.randint(0, 9999)}"


def _text(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
