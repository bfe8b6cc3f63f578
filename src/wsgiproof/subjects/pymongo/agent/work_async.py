"""The workload ``async``: an AsyncMongoClient that all request threads of an interpreter share."""

from __future__ import absolute_import

import pymongo
from bson.objectid import ObjectId

from . import codec, roundtrip
from .event_loop import EventLoop
from .store import SECONDS_TO_DROP, Store, of_primary
from .work_crud import read_back


class Work(Store):
    """Reads all documents, and writes, reads and deletes another one, in each request.

    The client is always closed at the end: its tasks belong to the loop of the application, which
    has to end with the interpreter.
    """

    def connect(self, database, named):
        self.loop = EventLoop()
        try:
            first = self.open(**named)
            written = roundtrip.documents(self.documents)
            self.expected = {one["index"]: roundtrip.expected(one) for one in written}
            collection = codec.collection(of_primary(first, database), self.name)
            self.loop.run(collection.insert_many(written))
            self.loop.run(first.close())
            self.client = self.open()
            self.database = of_primary(self.client, database)
            self.collection = codec.collection(self.database, self.name)
            self.address = self.loop.run(self.client.address)
        except BaseException:
            self.loop.close()
            raise

    def open(self, **options):
        """Return a new client."""
        return self.loop.call(pymongo.AsyncMongoClient, self.uri, **options)

    def work(self):
        stored = {"index": {"$gte": 0}}
        cursor = self.collection.find(stored).batch_size(self.batch_size)
        found = read_back(self.loop.run(cursor.to_list(None)), self.expected)
        key = {"_id": ObjectId()}
        written, expected = roundtrip.everyday(**key)
        self.loop.run(self.collection.insert_one(written))
        found.extend(expected.problems(self.loop.run(self.collection.find_one(key))))
        if self.loop.run(self.collection.delete_one(key)).deleted_count != 1:
            found.append("a document could not be deleted after it was read")
        return found

    def close(self):
        try:
            with pymongo.timeout(SECONDS_TO_DROP):
                self.loop.run(self.database.drop_collection(self.name))
        finally:
            self.loop.run(self.client.close())
            self.loop.close()
