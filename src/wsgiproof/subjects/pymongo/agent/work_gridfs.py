"""The workload ``gridfs``: reads stored files, whole and in part, and writes, reads and deletes
others."""

from __future__ import absolute_import

import io
from contextlib import closing

import gridfs

from ..counter import Counter
from . import roundtrip
from .store import Store, of_primary

_CHUNK = 256
"""Bytes of a chunk: so small that a file has more chunks than the first batch of a cursor."""
_SIZES = (0, _CHUNK, 150 * _CHUNK + 1)


class Work(Store):
    """Uses ``GridFS`` and, since PyMongo 3.1, ``GridFSBucket`` in every second request."""

    sessions = 2
    parts = (".files", ".chunks")

    def prepare(self, client, database):
        files = gridfs.GridFS(of_primary(client, database.name), self.name)
        metadata, self._metadata = roundtrip.everyday()
        self.stored = []
        for size in _SIZES:
            content = _content(size)
            identifier = files.put(content, chunk_size=_CHUNK, metadata=metadata)
            self.stored.append((identifier, content))

    def begin(self):
        self.files = gridfs.GridFS(self.database, self.name)
        self._requests = Counter()
        self._bucket = None
        if hasattr(gridfs, "GridFSBucket"):
            self._bucket = gridfs.GridFSBucket(self.database, self.name)

    def work(self):
        found = []
        for identifier, content in self.stored:
            found.extend(self._read(identifier, content))
        content = _content(3 * _CHUNK)
        if self._bucket is not None and self._requests.next() % 2:
            return found + self._stream(content)
        return found + self._file(content)

    def _file(self, content):
        identifier = self.files.put(content, chunk_size=_CHUNK)
        found = _compared("a new file", content, self.files.get(identifier).read())
        self.files.delete(identifier)
        if self.files.exists(identifier):
            found.append("a file is there after it was deleted")
        return found

    def _read(self, identifier, content):
        what = "a file of %d bytes" % len(content)
        with closing(self.files.get(identifier)) as file:
            begun = file.read(10)  # the cursor of the chunks is open now
            file.seek(len(content) // 2)
            rest = file.read()
            found = (
                [] if file.length == len(content) else ["%s has length %r" % (what, file.length)]
            )
            found.extend(self._metadata.problems(file.metadata))
        found.extend(_compared(what, content[:10], begun))
        found.extend(_compared(what, content[len(content) // 2 :], rest))
        return found

    def _stream(self, content):
        identifier = self._bucket.upload_from_stream("new", io.BytesIO(content))
        read = io.BytesIO()
        self._bucket.download_to_stream(identifier, read)
        self._bucket.delete(identifier)
        return _compared("a new stream", content, read.getvalue())


def _content(size):
    return bytes(bytearray(number % 251 for number in range(size)))


def _compared(what, expected, actual):
    if type(actual) is bytes and actual == expected:
        return []
    return ["%s: read %r, not the %d bytes that were written" % (what, actual[:40], len(expected))]
