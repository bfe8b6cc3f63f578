"""The workload ``crud``: reads documents with values of every BSON type, as PyMongo's own test."""

from __future__ import absolute_import

from pymongo.collection import Collection

from . import codec, roundtrip
from .store import Store, spread

in_memory = roundtrip.encode_decode


class Work(Store):
    """Reads all documents in batches, in each request."""

    def prepare(self, client, database):
        written = roundtrip.documents(self.documents)
        self.expected = {one["index"]: roundtrip.expected(one) for one in written}
        collection = codec.collection(database, self.name)
        # Looked up on the class: any attribute of an old collection is a sub collection.
        if hasattr(Collection, "insert_many"):
            collection.insert_many(written)
            spread(client, collection)
        else:
            collection.insert(written)

    def begin(self):
        # It reads from where the URI prefers to.
        self.collection = codec.collection(self.client[self.database.name], self.name)

    def work(self):
        return read_back(self.collection.find().batch_size(self.batch_size), self.expected)


def read_back(documents, expected):
    """Return the problems of documents that were read, by what is expected of each index."""
    found, missing = [], set(expected)
    for document in documents:
        index = document.get("index")
        if index not in missing:
            found.append("read an unexpected document with index %r" % (index,))
            continue
        missing.remove(index)
        found.extend(expected[index].problems(document))
    if missing:
        found.append("%d documents were not read" % len(missing))
    return found
