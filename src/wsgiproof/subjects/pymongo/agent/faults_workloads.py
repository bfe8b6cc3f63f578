"""Faults that only one workload can have, and their negative controls."""

from __future__ import absolute_import

import atexit

from ..counter import Counter
from ..faults_base import Acquiring, NoFault, Sometimes
from .faults import store_of


class _OfStore(Acquiring):
    """Acquires something of the workload's store."""

    def at_load(self, workload):
        store_of(workload)

    def release(self, resource):
        resource.close()


class LeaveFileOpen(_OfStore):
    """Reads the beginning of a file in GridFS and keeps it, with the cursor of its chunks."""

    def acquire(self, workload):
        store = workload.store
        identifier, _ = store.stored[-1]
        file = store.files.get(identifier)
        file.read(1)
        return file


class CloseFile(LeaveFileOpen):
    """The negative control of LeaveFileOpen: closes each file after its beginning was read."""

    leaks = False


class LeaveTransaction(_OfStore):
    """Begins a transaction and writes in it, and does not end it."""

    def at_load(self, workload):
        _OfStore.at_load(self, workload)
        # The collection can't be dropped while they are there.
        atexit.register(self._end)

    def acquire(self, workload):
        session = workload.store.client.start_session()
        session.start_transaction()
        workload.store.collection.insert_one({}, session=session)
        return session

    def release(self, resource):
        resource.end_session()  # which aborts the transaction

    def _end(self):
        for session in self.kept:
            self.release(session)


class AbortTransaction(LeaveTransaction):
    """The negative control of LeaveTransaction: ends the session, and its transaction with it."""

    leaks = False


class LeaveChangeStream(_OfStore):
    """Opens a change stream and keeps it."""

    def acquire(self, workload):
        return workload.store.watch({"_id": None})


class CloseChangeStream(LeaveChangeStream):
    """The negative control of LeaveChangeStream: closes each stream."""

    leaks = False


class LoseBulkWrite(NoFault):
    """Loses the last operation of each ``every``-th bulk write: a driver's fault."""

    def __init__(self, every=1):
        self._every = every
        self._writes = Counter()

    def at_load(self, workload):
        store = store_of(workload)
        store.collection = _Losing(store.collection, self._due)

    def _due(self):
        return self._writes.next() % self._every == 0


class _Losing(object):
    """A collection that loses operations of bulk writes."""

    def __init__(self, documents, due):
        self._documents = documents
        self._due = due

    def bulk_write(self, writes, **options):
        lost = len(writes) > 1 and self._due()
        return self._documents.bulk_write(writes[:-1] if lost else writes, **options)

    def __getattr__(self, name):
        return getattr(self._documents, name)


class HandleBulkError(Sometimes):
    """A negative control of LoseBulkWrite: handles a bulk write that fails as a whole."""

    def at_load(self, workload):
        store_of(workload)

    def act(self, workload):
        from pymongo import InsertOne
        from pymongo.errors import BulkWriteError

        key = {"_id": "planted"}
        try:
            workload.store.collection.bulk_write([InsertOne(key), InsertOne(key)])
        except BulkWriteError:
            workload.store.collection.delete_one(key)


class LeaveAsyncClient(Acquiring):
    """Opens an AsyncMongoClient, uses it and keeps it."""

    def at_load(self, workload):
        self._store = store_of(workload)

    def acquire(self, workload):
        client = self._store.open()
        self._store.loop.run(client["admin"].command("ping"))
        return client

    def release(self, resource):
        self._store.loop.run(resource.close())


class CloseAsyncClient(LeaveAsyncClient):
    """The negative control of LeaveAsyncClient: closes each client."""

    leaks = False


class WrongRawByte(NoFault):
    """Changes one byte of the first raw document that each ``every``-th request reads."""

    def __init__(self, every=1):
        self._every = every
        self._requests = Counter()

    def at_load(self, workload):
        store = store_of(workload)
        store.collection = _Again(store.collection, self._bytes)

    def _bytes(self, data):
        if self._requests.next() % self._every:
            return data
        return self.change(data)

    def change(self, data):
        """Return other bytes of a document."""
        at = data.index(b"\x10int32\x00") + 7
        return data[:at] + b"\x01" + data[at + 1 :]


class CopyRawDocument(WrongRawByte):
    """The negative control of WrongRawByte: makes a new document of the same bytes."""

    def change(self, data):
        return bytes(bytearray(data))


class _Again(object):
    """A collection that makes the first document of each find again, of other bytes."""

    def __init__(self, documents, change):
        self._documents = documents
        self._change = change

    def find(self, query):
        return _AgainCursor(self._documents.find(query), self._again)

    def _again(self, document):
        from bson.raw_bson import RawBSONDocument

        return RawBSONDocument(self._change(document.raw), self._documents.codec_options)

    def __getattr__(self, name):
        return getattr(self._documents, name)


class _AgainCursor(object):
    def __init__(self, cursor, again):
        self._cursor = cursor
        self._again = again

    def batch_size(self, size):
        for number, document in enumerate(self._cursor.batch_size(size)):
            yield document if number else self._again(document)


class LeaveKeyClient(Acquiring):
    """Opens a client for the keys of an encryption and keeps it."""

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        import pymongo

        client = pymongo.MongoClient(workload.uri)
        encryption = workload.store.encryption(client)
        list(encryption.get_keys())
        return encryption, client

    def release(self, resource):
        for one in resource:
            one.close()


class CloseKeyClient(LeaveKeyClient):
    """The negative control of LeaveKeyClient: closes each client."""

    leaks = False
