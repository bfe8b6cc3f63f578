"""The workload ``change-streams``: watches the changes of a document, and resumes in between."""

from __future__ import absolute_import

from bson.objectid import ObjectId

from . import roundtrip
from .store import Store


class Work(Store):
    """Each request watches a document of its own."""

    sessions = 2

    def prepare(self, client, database):
        database.create_collection(self.name)

    def work(self):
        key = {"_id": ObjectId()}
        written, expected = roundtrip.everyday(**key)
        with self.watch(key) as stream:
            self.collection.insert_one(written)
            inserted = next(stream)
        self.collection.update_one(key, {"$set": {"int32": 7}})
        self.collection.delete_one(key)
        with self.watch(key, resume_after=inserted["_id"]) as stream:
            changes = [inserted, next(stream), next(stream)]
        kinds = [change.get("operationType") for change in changes]
        if kinds != ["insert", "update", "delete"]:
            return ["an insert, an update and a delete were seen as %r" % (kinds,)]
        found = ["the key of a change is %r" % (one.get("documentKey"),) for one in changes
                 if one.get("documentKey") != key]  # fmt: skip
        found.extend(expected.problems(inserted.get("fullDocument")))
        updated = changes[1].get("updateDescription", {}).get("updatedFields")
        if updated != {"int32": 7}:
            found.append("an update was seen as %r" % (updated,))
        return found

    def watch(self, key, **options):
        """Return a change stream of the document with this key."""
        return self.collection.watch([{"$match": {"documentKey._id": key["_id"]}}], **options)
