"""The workload ``async``: an AsyncMongoClient that all request threads of an interpreter share."""

from __future__ import absolute_import

import pymongo
from bson.objectid import ObjectId

from . import codec, roundtrip
from .event_loop import EventLoop
from .store import SECONDS_TO_DROP, Store, of_primary
from .work_crud import read_back

_AT_ONCE = 4


class Work(Store):
    """Reads all documents, and writes, reads and deletes some at the same time, in each request.

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
        pairs = [roundtrip.everyday(_id=ObjectId()) for _ in range(_AT_ONCE)]
        self._at_once(self.collection.insert_one, [written for written, _ in pairs])
        keys = [{"_id": written["_id"]} for written, _ in pairs]
        for (_, expected), read in zip(pairs, self._at_once(self.collection.find_one, keys)):
            found.extend(expected.problems(read))
        deleted = self._at_once(self.collection.delete_one, keys)
        if [one.deleted_count for one in deleted] != [1] * _AT_ONCE:
            found.append("documents could not be deleted after they were read")
        return found

    def _at_once(self, operation, arguments):
        futures = [self.loop.submit(operation(one)) for one in arguments]
        return [future.result() for future in futures]

    def close(self):
        try:
            with pymongo.timeout(SECONDS_TO_DROP):
                self.loop.run(self.database.drop_collection(self.name))
        finally:
            self.loop.run(self.client.close())
            self.loop.close()
