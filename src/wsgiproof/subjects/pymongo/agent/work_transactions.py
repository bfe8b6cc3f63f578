"""The workload ``transactions``: commits one, aborts one, and looks at what each has left."""

from __future__ import absolute_import

from bson.objectid import ObjectId

from . import roundtrip
from .store import Store


class _Abort(Exception):
    """Raised in a transaction to abort it."""


class Work(Store):
    """Each request has documents of its own, so no transaction conflicts with another one."""

    sessions = 2

    def prepare(self, client, database):
        database.create_collection(self.name)

    def work(self):
        pairs = [roundtrip.everyday(_id=ObjectId(), balance=number) for number in (100, 0)]
        expected = {written["_id"]: read for written, read in pairs}
        before = []

        def commit(session):
            del before[:]  # it may be called again
            self.collection.insert_many([written for written, _ in pairs], session=session)
            before.extend(self.collection.find(_any(expected)))

        def abort(session):
            for amount, (written, _) in zip((-10, 10), pairs):
                changed = {"$inc": {"balance": amount}}
                self.collection.update_one({"_id": written["_id"]}, changed, session=session)
            self.collection.delete_one({"_id": pairs[0][0]["_id"]}, session=session)
            raise _Abort

        found = []
        with self.client.start_session() as session:
            session.with_transaction(commit)
            if before:
                found.append("read %d documents of a transaction before its commit" % len(before))
            found.extend(self._compared("after a commit", expected))
            try:
                session.with_transaction(abort)
            except _Abort:
                found.extend(self._compared("after an abort", expected))
            else:
                found.append("a transaction went on after an exception in it")
        self.collection.delete_many(_any(expected))
        return found

    def _compared(self, when, expected):
        read = {document["_id"]: document for document in self.collection.find(_any(expected))}
        if set(read) != set(expected):
            return ["%s, there are %d documents of %d" % (when, len(read), len(expected))]
        return [
            "%s: %s" % (when, problem)
            for identifier, document in read.items()
            for problem in expected[identifier].problems(document)
        ]


def _any(identifiers):
    return {"_id": {"$in": list(identifiers)}}
