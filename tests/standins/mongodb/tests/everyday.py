"""What PyMongo, the second official driver, does all day. Run by pymongo.rs (and not called pymongo.py, which would shadow the module); prints one line when all went well."""

import sys
import uuid
from datetime import datetime, timezone

import bson
from bson import Decimal128, Int64, ObjectId
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
db = client[f"t_pymongo_{uuid.uuid4().hex}"]
orders = db.orders

assert client.admin.command("ping")["ok"] == 1.0
assert tuple(map(int, client.server_info()["version"].split("."))) >= (6, 0, 0)
assert client.is_primary

# Values of every type come back as they went.
document = {
    "_id": ObjectId(), "i": 1, "l": Int64(1), "d": 1.5, "nan": float("inf"), "dec": Decimal128("12.340"), "s": "\u2028\U0001f600",
    "b": b"\x00\x01", "u": bson.Binary.from_uuid(uuid.uuid4()), "t": datetime(2024, 1, 2, tzinfo=timezone.utc), "n": None,
    "a": [1, "x", {"y": []}], "o": {"k": {"z": True}}, "ts": bson.Timestamp(5, 6), "re": bson.Regex("^a", "i"),
    "min": bson.MinKey(), "max": bson.MaxKey(), "code": bson.Code("f()"),
}
orders.insert_one(document)
found = db.get_collection("orders", codec_options=bson.CodecOptions(tz_aware=True)).find_one({"_id": document["_id"]})
assert found == document, found

orders.delete_many({})
orders.insert_many([{"_id": n, "n": n, "kind": "even" if n % 2 == 0 else "odd"} for n in range(1000)])
assert orders.count_documents({"kind": "even"}) == 500
assert orders.estimated_document_count() == 1000
assert [d["_id"] for d in orders.find({"n": {"$gte": 10}}, {"_id": 1}).sort("n", -1).limit(3)] == [999, 998, 997]
assert len(list(orders.find({}, batch_size=7))) == 1000
assert orders.distinct("kind") == ["even", "odd"]
assert list(orders.aggregate([
    {"$match": {"n": {"$lt": 10}}}, {"$group": {"_id": "$kind", "n": {"$sum": "$n"}}}, {"$sort": {"_id": 1}},
])) == [{"_id": "even", "n": 20}, {"_id": "odd", "n": 25}]

result = orders.bulk_write([
    InsertOne({"_id": 5000}), UpdateOne({"_id": 1}, {"$set": {"x": 1}}), UpdateMany({"n": {"$lt": 5}}, {"$inc": {"n": 100}}),
    ReplaceOne({"_id": 6000}, {"r": 1}, upsert=True), DeleteOne({"_id": 2}),
])
assert (result.inserted_count, result.modified_count, result.upserted_count, result.deleted_count) == (1, 6, 1, 1)
try:
    orders.bulk_write([InsertOne({"_id": 1}), InsertOne({"_id": 7000})], ordered=False)
    raise AssertionError("a duplicate went in")
except BulkWriteError as error:
    assert error.details["nInserted"] == 1 and error.details["writeErrors"][0]["code"] == 11000
try:
    orders.insert_one({"_id": Int64(1)})
    raise AssertionError("a duplicate of another numeric type went in")
except DuplicateKeyError:
    pass
assert orders.find_one_and_update({"_id": 1}, {"$push": {"list": 1}}, return_document=ReturnDocument.AFTER)["list"] == [1]
assert orders.find_one_and_update({"_id": "new"}, {"$setOnInsert": {"y": 1}}, upsert=True) is None
assert orders.find_one_and_replace({"_id": "new"}, {"z": 1})["y"] == 1
assert orders.find_one_and_delete({"_id": "new"}) == {"_id": "new", "z": 1}

assert db.list_collection_names() == ["orders"] and db.name in client.list_database_names()
orders.create_index("n")
assert set(orders.index_information()) == {"_id_", "n_1"}

# A change stream: every change, the fields that changed, images, and where to go on.
db.command("collMod", "orders", changeStreamPreAndPostImages={"enabled": True})
match = [{"$match": {"operationType": {"$in": ["insert", "update", "delete"]}}}]
with db.watch(match, full_document="updateLookup", full_document_before_change="whenAvailable") as stream:
    assert stream.try_next() is None
    start = stream.resume_token
    orders.insert_one({"_id": "w", "list": [1, 2, 3], "sub": {"a": 1}})
    orders.update_one({"_id": "w"}, {"$set": {"sub.a": 2}, "$push": {"list": 4}, "$unset": {"none": 1}})
    orders.update_one({"_id": "w"}, [{"$set": {"list": {"$slice": ["$list", 2]}}}])
    orders.replace_one({"_id": "w"}, {"skipped": "by the pipeline"})
    orders.delete_one({"_id": "w"})
    events = [stream.next() for _ in range(4)]
assert [e["operationType"] for e in events] == ["insert", "update", "update", "delete"]
assert events[1]["updateDescription"] == {"updatedFields": {"list.3": 4, "sub.a": 2}, "removedFields": [], "truncatedArrays": []}
assert events[1]["fullDocumentBeforeChange"] == {"_id": "w", "list": [1, 2, 3], "sub": {"a": 1}}
assert events[2]["updateDescription"]["truncatedArrays"] == [{"field": "list", "newSize": 2}]
assert events[3]["fullDocumentBeforeChange"] == {"_id": "w", "skipped": "by the pipeline"}
assert all(a["clusterTime"] < b["clusterTime"] and a["_id"]["_data"] < b["_id"]["_data"] for a, b in zip(events, events[1:]))
with db.watch(match, resume_after=start) as stream:
    assert [stream.next()["_id"] for _ in events] == [e["_id"] for e in events]
with client.watch(match, start_after=events[2]["_id"]) as stream:
    assert stream.next()["_id"] == events[3]["_id"]
with orders.watch(match, start_at_operation_time=events[3]["clusterTime"]) as stream:
    assert stream.next()["_id"] == events[3]["_id"]

client.drop_database(db.name)
client.close()
print("pymongo is content")
