"""The workload ``bulk``: bulk writes, what they return, and what they leave."""

from __future__ import absolute_import

from bson.objectid import ObjectId
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from ..counter import Counter
from . import roundtrip
from .store import Store


class Work(Store):
    """Each request has documents of its own, and every second one writes in order."""

    def prepare(self, client, database):
        database.create_collection(self.name)
        self._requests = Counter()

    def work(self):
        owner, ordered = ObjectId(), self._requests.next() % 2 == 0
        found = self._write(owner, ordered) + self._fail(owner)
        # What the two have left: 0, 1, 2 and 4, and what could be written of the last one.
        return found + self._counted([DeleteMany({"owner": owner})], ordered, deleted=6)

    def _write(self, owner, ordered):
        """Insert, update and delete documents by two bulk writes, and compare what is left."""

        def of(number):
            return {"owner": owner, "number": number}

        found = self._counted(
            [InsertOne(roundtrip.everyday(**of(number))[0]) for number in range(4)], ordered,
            inserted=4,
        )  # fmt: skip
        changes = [
            ReplaceOne(of(0), roundtrip.everyday(new=True, **of(0))[0]),
            UpdateMany({"owner": owner, "number": {"$in": [1, 2]}}, {"$set": {"seen": 1}}),
            UpdateOne(of(4), {"$set": {"seen": 1}}, upsert=True),
            DeleteOne(of(3)),
        ]
        counts = {"matched": 3, "modified": 3, "upserted": 1, "deleted": 1}
        found.extend(self._counted(changes, ordered, **counts))
        expected = [
            roundtrip.everyday(new=True, **of(0))[1],
            roundtrip.everyday(seen=1, **of(1))[1],
            roundtrip.everyday(seen=1, **of(2))[1],
        ]
        read = list(self.collection.find({"owner": owner}, {"_id": False}).sort("number", 1))
        if [one.get("number") for one in read] != [0, 1, 2, 4]:
            return found + ["bulk writes left %r" % ([one.get("number") for one in read],)]
        for one, document in zip(expected, read):
            found.extend(one.problems(document))
        return found

    def _counted(self, writes, ordered, **expected):
        result = self.collection.bulk_write(writes, ordered=ordered)
        names = ("inserted", "matched", "modified", "upserted", "deleted")
        counts = {name: getattr(result, name + "_count") for name in names}
        if counts == dict(dict.fromkeys(names, 0), **expected):
            return []
        return ["a bulk write returned %r, not %r" % (counts, expected)]

    def _fail(self, owner):
        """Write what can be written only in part, and compare the error."""
        key = ObjectId()
        writes = [InsertOne({"_id": one, "owner": owner}) for one in (key, key, ObjectId(), key)]
        try:
            self.collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            told = error.details
        else:
            return ["a bulk write wrote three documents with the same _id"]
        codes = [(one["index"], one["code"]) for one in told["writeErrors"]]
        if (told["nInserted"], codes) == (2, [(1, 11000), (3, 11000)]):
            return []
        return ["a bulk write failed with %r, and %r written" % (codes, told["nInserted"])]
