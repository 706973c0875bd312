"""What the oracle must get right: the mapping's rules, both spellings of Extended JSON, and seeing what is wrong."""

from __future__ import annotations

import json
import struct
import unittest
from decimal import Decimal
from pathlib import Path

import canonical
import cel
import convert
import manifests
import mapping
import oracle
from bson import Binary, Decimal128, Int64, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS

ID = ObjectId("6592008029c8c3e4dc76256c")
NOON = DatetimeMS(1_704_196_800_000)
MIDNIGHT = DatetimeMS(1_704_153_600_000)


def column(name: str, type_text: str, source: str | None = None, **more: str) -> manifests.Column:
    return manifests.Column(
        name=name,
        type=type_text,
        source=None if "value" in more else source or name,
        value=more.get("value"),
        bson=more.get("bson"),
        default=more.get("default"),
        on_error=more.get("on_error", "Overflow"),
    )


KEY = column("id", "VARCHAR(24)", "_id", bson="ObjectId")


def row(document: dict, *columns: manifests.Column) -> dict:
    feed = manifests.Feed("ns/p", "acme", "orders", "acme.shop.orders", "shop", "orders", (KEY, *columns))
    return mapping.row({"_id": ID, **document}, feed)


def extra(**kept: tuple) -> tuple:
    return canonical.document(
        {p: canonical.document({"v": v, "t": ("string", t)}) for p, (t, v) in kept.items()}
    )


class Expressions(unittest.TestCase):
    def value(self, text: str, **document: object) -> object:
        return cel.evaluate(cel.parse(text), {"doc": document, "key": ID, "meta": {"tenant": "acme"}})

    def test_absent_is_null_and_null_compares_to_nothing(self) -> None:
        for text, wanted in {
            "doc.isTest != true": True,
            "doc.a.b.c == null": True,
            "doc.n > 3": False,
            "doc.n <= 3": False,
            "doc.n + 1": None,
            "doc.n > 3 || true": True,
            "!(doc.n == null)": False,
            "doc.s": None,
            "has(doc.a)": False,
            "doc.n ? 1 : 2": 2,
        }.items():
            self.assertEqual(self.value(text), wanted, text)

    def test_arithmetic_precedence_strings_and_functions(self) -> None:
        document = {"n": 7, "f": 0.5, "s": "ab", "l": [1, {"x": "y"}], "d": Decimal128("1.0")}
        for text, wanted in {
            "doc.n * 2 + 1": 15,
            "1 + doc.n * 2": 15,
            "-doc.n / 2": -3,
            "-doc.n % 4": -3,
            "doc.n * doc.f": 3.5,
            "doc.n == 7.0 && doc.s == 'ab'": True,
            "doc.s + \"c\"": "abc",
            "doc.l[1].x": "y",
            "doc['n']": 7,
            "size(doc.l) + doc.s.size()": 4,
            "type(doc.d)": "decimal",
            "doc.n in [1, 7]": True,
            "doc.s.startsWith('a') ? 'yes' : 'no'": "yes",
            "meta.tenant": "acme",
        }.items():
            self.assertEqual(self.value(text, **document), wanted, text)
        for text in ("doc.s > 1", "doc.l && true", "doc.n / 0", "doc.d == doc.d", "doc.s + 1"):
            with self.assertRaises(cel.Failed, msg=text):
                self.value(text, **document)
        for text in ("doc.", "1 +", "doc.n = 1", "f(doc)", "other"):
            with self.assertRaises(cel.NotCel, msg=text):
                self.value(text, **document)


class Rows(unittest.TestCase):
    def rows(self, document: dict, *columns: manifests.Column, **more: object) -> list[dict]:
        feed = manifests.Feed("ns/p", "acme", "orders", "acme.shop.orders", "shop", "orders", (KEY, *columns), **more)
        return mapping.rows({"_id": ID, **document}, feed)

    def test_where_lets_through_only_what_is_true(self) -> None:
        where = cel.parse("doc.n > 1")
        for document, count in (({"n": 2}, 1), ({"n": 1}, 0), ({}, 0)):
            self.assertEqual(len(self.rows(document, where=where)), count, document)
        with self.assertRaises(mapping.Parked):
            self.rows({"n": "x"}, where=where)

    def test_an_array_becomes_one_row_for_each_element(self) -> None:
        columns = [
            column("line", "INT", "$ordinal"),
            column("sku", "VARCHAR(9)", "$element.sku"),
            column("status", "VARCHAR(9)", "status"),
            manifests.Column("double", "BIGINT", None, None, None, None, "SetNull", cel.parse("element.qty * 2")),
        ]
        document = {"status": "paid", "items": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": "x"}, {}]}
        made = self.rows(document, *columns, explode="items")
        names = ("line", "sku", "status", "double")
        self.assertEqual(
            [tuple(r[n] for n in names) for r in made],
            [(0, "a", "paid", 4), (1, "b", "paid", None), (2, None, "paid", None)],
        )
        self.assertEqual(
            [r["_extra"] for r in made],
            [extra(**{"$element.qty": ("int", canonical.from_bson(2))}), extra(**{"$element.qty": ("string", ("string", "x"))}), None],
        )
        odd = self.rows({"items": [7, {"sku": 1, "a": {"b.c": True}}]}, *columns, explode="items")
        self.assertEqual(
            [r["_extra"] for r in odd],
            [
                extra(**{"$element": ("int", canonical.from_bson(7))}),
                extra(**{"$element.sku": ("int", canonical.from_bson(1)), "$element.a": ("object", canonical.from_bson({"b.c": True}))}),
            ],
        )
        for nothing in ({}, {"items": None}, {"items": []}):
            self.assertEqual(self.rows(nothing, *columns, explode="items"), [])
        with self.assertRaises(mapping.Parked):
            self.rows({"items": "none"}, *columns, explode="items")

    def test_a_key_without_a_value_parks_the_document_and_on_reject_says_what_is_left(self) -> None:
        shape = {"primaryKey": ["_doc", "tag"], "columns": [{"name": "tag", "type": "VARCHAR(3)", "from": "$element"}]}
        columns = manifests._columns(shape, [])
        self.assertEqual([(c.name, c.key, c.on_error) for c in columns], [("_doc", True, "Reject"), ("tag", True, "Reject")])
        def rows_of(tags: list, on_reject: str) -> list[dict]:
            feed = manifests.Feed("ns/p", "acme", "o", "t", "shop", "o", columns, explode="tags", on_reject=on_reject)
            return oracle.rows_of({"_id": ID, "tags": tags}, feed, oracle.Verdict("t"))
        self.assertEqual([r["tag"] for r in rows_of(["a", "b"], "KeepOld")], ["a", "b"])
        for wrong in (["a", None], ["a", "long"], ["a", 1]):
            self.assertEqual(rows_of(wrong, "Remove"), [])
            with self.assertRaises(manifests.Unsupported):
                rows_of(wrong, "KeepOld")


class Mapping(unittest.TestCase):
    def test_paths_constants_defaults_and_sources(self) -> None:
        columns = [
            column("city", "VARCHAR(20)", "a.city"),
            column("second", "VARCHAR(20)", "list[1].x"),
            column("odd", "VARCHAR(20)", '["odd.name"]'),
            column("region", "VARCHAR(20)", value="eu"),
            column("country", "VARCHAR(2)", default="ZZ"),
            column("tenant", "VARCHAR(20)", "$tenant"),
            column("day", "DATE", "$key.time"),
            column("key", "VARCHAR(64)", "$key"),
        ]
        got = row({"a": {"city": "Graz"}, "list": [{}, {"x": "y"}], "odd.name": "z", "country": None}, *columns)
        self.assertEqual(
            {"city": "Graz", "second": "y", "odd": "z", "region": "eu", "country": "ZZ", "tenant": "acme"},
            {name: got[name] for name in ("city", "second", "odd", "region", "country", "tenant")},
        )
        self.assertEqual(got["day"], int(ID.generation_time.timestamp()) // 86_400 * 86_400_000_000)
        self.assertEqual(got["key"], '{"$oid": "6592008029c8c3e4dc76256c"}')

    def test_extra_holds_what_no_column_took_and_what_did_not_fit(self) -> None:
        got = row(
            {"n": "seven", "a": {"b": 1, "c": Int64(2)}, "gone": None, "quiet": "x"},
            column("n", "INT"),
            column("b", "INT", "a.b"),
            column("quiet", "INT", on_error="SetNull"),
        )
        self.assertEqual((got["n"], got["b"], got["quiet"]), (None, 1, None))
        want = {"n": ("string", ("string", "seven")), "a.c": ("long", ("number", 2)), "gone": ("null", ("null",))}
        self.assertEqual(got["_extra"], extra(**want))
        self.assertIsNone(row({"n": 7}, column("n", "INT"))["_extra"])

    def test_a_scalar_where_columns_expect_members_is_kept(self) -> None:
        got = row({"a": "text"}, column("b", "INT", "a.b"))
        self.assertEqual(got["_extra"], extra(a=("string", ("string", "text"))))

    def test_another_type_of_id_is_parked(self) -> None:
        feed = manifests.Feed("ns/p", "acme", "orders", "t", "shop", "orders", (KEY,))
        with self.assertRaises(mapping.Parked):
            mapping.row({"_id": "text"}, feed)

    def test_paths_print_as_they_parse(self) -> None:
        for text in ("a.b.c", "a[0].b", 'a["odd.name"]', '["$x"][2]', "with blank.b"):
            self.assertEqual(mapping.print_path(mapping.parse_path(text)), text)


class Conversion(unittest.TestCase):
    def test_what_fits(self) -> None:
        for value, type_text, want in [
            (3.0, "INT", 3),
            (Int64(2**40), "BIGINT", 2**40),
            (Decimal128("1E+3"), "DECIMAL(10,2)", Decimal(1000)),
            (12.5, "DECIMAL(10,2)", Decimal("12.5")),
            (7, "DOUBLE", 7.0),
            ("é", "VARCHAR(2)", "é"),
            (ID, "VARCHAR(24)", str(ID)),
            (Binary(bytes(16), 4), "VARCHAR(36)", "00000000-0000-0000-0000-000000000000"),
            (MIDNIGHT, "DATE", int(MIDNIGHT) * 1000),
            (NOON, "DATETIME", int(NOON) * 1000),
            ("2024-01-02T12:00:00.000001Z", "DATETIME", int(NOON) * 1000 + 1),
            (["a", None], "ARRAY<VARCHAR(1)>", '["a",null]'),
        ]:
            self.assertEqual(convert.from_bson(value, type_text), want, (value, type_text))

    def test_what_would_lose_information(self) -> None:
        for value, type_text in [
            (3.5, "INT"),
            (2**31, "INT"),
            ("7", "INT"),
            (True, "INT"),
            (1, "BOOLEAN"),
            (float("nan"), "DOUBLE"),
            (Int64(2**53 + 1), "DOUBLE"),
            (Decimal128("12.345"), "DECIMAL(10,2)"),
            (Decimal128("1E+40"), "DECIMAL(38,2)"),
            ("éé", "VARCHAR(3)"),
            (7, "VARCHAR(3)"),
            (NOON, "DATE"),
            ("2024-01-02T12:00:00+01:00", "DATETIME"),
            (DatetimeMS(253_402_300_800_000), "DATETIME"),
            (["a", 1], "ARRAY<VARCHAR(1)>"),
        ]:
            with self.assertRaises(convert.Misfit, msg=f"{value!r} {type_text}"):
                convert.from_bson(value, type_text)

    def test_what_starrocks_prints(self) -> None:
        for text, type_text, want in [
            ("1", "BOOLEAN", True),
            ("12.30", "DECIMAL(10,2)", Decimal("12.3")),
            ("-0", "DOUBLE", 0.0),
            ("0.1", "FLOAT", struct.unpack("f", struct.pack("f", 0.1))[0]),
            ("0000-01-01 00:00:00", "DATETIME", convert.YEAR_0000 * 1000),
            ("1969-12-31 23:59:59.999000", "DATETIME", -1000),
            ('["a","b"c",null]', "ARRAY<VARCHAR(9)>", '["a","b"c",null]'),
            ("[1,2]", "ARRAY<INT>", (1, 2)),
        ]:
            self.assertEqual(convert.from_sql(text, type_text), want, (text, type_text))

    def test_both_spellings_of_extended_json_are_one_value(self) -> None:
        for left, right in [
            ('{"$date": 1704196800000}', '{"$date": "2024-01-02T12:00:00Z"}'),
            ('{"$numberLong": "5"}', "5.0"),
            ('{"$binary": "AQL/", "$type": "00"}', '{"$binary": {"base64": "AQL/", "subType": "00"}}'),
            ('{"a": 1, "b": {"$numberDecimal": "1.20"}}', '{"b": {"$numberDecimal": "1.20"}, "a": 1}'),
        ]:
            self.assertEqual(canonical.from_json_text(left), canonical.from_json_text(right))
        for left, right in [("1", "true"), ('"NaN"', '{"$numberDouble": "NaN"}'), ("null", "0")]:
            self.assertNotEqual(canonical.from_json_text(left), canonical.from_json_text(right))


class SharedVectors(unittest.TestCase):
    """The conversion table as the relay publishes it: the same vectors, the other implementation."""

    FILE = Path(__file__).parents[3] / "relay" / "testdata" / "conversion-vectors.json"

    def test_columns(self) -> None:
        vectors = json.loads(self.FILE.read_text())["columns"]
        self.assertGreater(len(vectors), 50)
        for vector in vectors:
            # MongoDB's Python driver has no undefined, and no way to write a field that is named like a wrapper.
            if vector["value"] == '{"$undefined": true}' or '"$odd"' in vector["value"]:
                continue
            value = _bson(vector["value"])
            with self.subTest(**vector):
                if value is None:
                    self.assertIsNone(vector["becomes"])
                elif "unfit" in vector:
                    with self.assertRaises(convert.Misfit):
                        convert.from_bson(value, vector["type"])
                else:
                    want = _loaded(vector["becomes"], vector["type"])
                    self.assertEqual(convert.from_bson(value, vector["type"]), want)


def _bson(text: str) -> object:
    """The value that Debezium wrote as this text. Its integers without a wrapper are int32; Python tells no widths."""
    options = json_util.JSONOptions(
        json_mode=json_util.JSONMode.LEGACY, datetime_conversion=DatetimeConversion.DATETIME_MS
    )
    return json_util.loads(text, json_options=options)


def _loaded(value: object, type_text: str) -> object:
    """What StarRocks holds, and so prints, after loading this JSON value."""
    if value is None:
        return None
    if type_text.startswith("JSON"):
        return canonical.from_json_text(json.dumps(value))
    if isinstance(value, list):
        element = type_text.removeprefix("ARRAY<").removesuffix(">")
        return convert.array([_loaded(v, element) for v in value], element)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return convert.from_sql(text, type_text)


class Verdicts(unittest.TestCase):
    def test_every_kind_of_wrong_row_is_seen(self) -> None:
        good = row({"n": 1}, column("n", "INT"), column("op", "VARCHAR(1)", "$op"))
        found = {**good, "op": "c", "_ver": 1}
        cases = {
            "missing": ({("k",): good}, {}),
            "extra": ({}, {("k",): found}),
            "differing": ({("k",): good}, {("k",): {**found, "n": 2}}),
        }
        for kind, (expected, actual) in cases.items():
            verdict = oracle.Verdict("t")
            oracle.compare(expected, actual, verdict)
            self.assertEqual(len(getattr(verdict, kind)), 1)
            self.assertFalse(verdict.clean())
        for broken in ({"_ver": None}, {"_ver": 0}, {"op": "d"}, {"_extra": extra(x=("int", ("number", 1)))}):
            verdict = oracle.Verdict("t")
            oracle.compare({("k",): good}, {("k",): {**found, **broken}}, verdict)
            self.assertEqual(len(verdict.differing), 1, broken)
        verdict = oracle.Verdict("t")
        oracle.compare({("k",): good}, {("k",): found}, verdict)
        self.assertTrue(verdict.clean())


class Manifests(unittest.TestCase):
    def test_the_scenario_s_own_files(self) -> None:
        files = sorted((Path(__file__).parent.parent / "manifests").glob("*.yaml"))
        tables = {table.label: table for table in manifests.load(files)}
        self.assertEqual(len(tables["shop.orders"].feeds), 2)
        channel = {feed.tenant: {c.name: c.source for c in feed.columns}["channel"] for feed in tables["shop.orders"].feeds}
        self.assertEqual(channel, {"acme": "meta.salesChannel", "globex": "channel"})


if __name__ == "__main__":
    unittest.main()
