"""The workload ``encryption``: values that are encrypted and decrypted in the client.

The deployment never sees them. The key that encrypts the keys is made for each interpreter, and is
kept nowhere else. Nothing is encrypted automatically, which only MongoDB Enterprise can do; what is
read is decrypted automatically.
"""

from __future__ import absolute_import

import os

from bson.binary import Binary
from bson.objectid import ObjectId
from pymongo.encryption import Algorithm, ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts

from . import codec, roundtrip
from .store import Store

_RANDOM = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
_DETERMINISTIC = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic
_ENCRYPTED = 6
"""The subtype of a Binary with an encrypted value (MongoDB's BSON specification)."""
_TEXT = "caf\u00e9"


class Work(Store):
    """Each request encrypts values, writes them, and reads them with and without their key."""

    parts = ("", "_keys")

    def connect(self, database, named):
        self._providers = {"local": {"key": os.urandom(96)}}
        self._vault = "%s.%s_keys" % (database, self.name)
        Store.connect(self, database, named)

    def prepare(self, client, database):
        encryption = self.encryption(client)
        self._key = encryption.create_data_key("local")
        encryption.close()

    def options(self):
        opts = AutoEncryptionOpts(self._providers, self._vault, bypass_auto_encryption=True)
        return {"auto_encryption_opts": opts}

    def begin(self):
        self._encryption = self.encryption(self.client)

    def encryption(self, client):
        """Return a new ClientEncryption whose keys are read by this client."""
        return ClientEncryption(self._providers, self._vault, client, codec.NAIVE)

    def work(self):
        document, expected = roundtrip.everyday()
        key = {"_id": ObjectId()}
        secret = self._encryption.encrypt(document, _RANDOM, key_id=self._key)
        again = [self._deterministic(), self._deterministic()]
        found = self._hidden(secret) + self._hidden(again[0])
        if again[0] != again[1]:
            found.append("the same text was encrypted to two values")
        self.collection.insert_one(dict(key, secret=secret, text=again[0]))
        found.extend(expected.problems(self._encryption.decrypt(secret)))
        read = self.collection.find_one(dict(key, text=again[1])) or {}
        found.extend(expected.problems(read.get("secret")))
        if read.get("text") != _TEXT:
            found.append("a text was decrypted to %r" % (read.get("text"),))
        found.extend(self._stored(key))
        self.collection.delete_one(key)
        return found

    def _deterministic(self):
        return self._encryption.encrypt(_TEXT, _DETERMINISTIC, key_id=self._key)

    def _hidden(self, secret):
        if type(secret) is Binary and secret.subtype == _ENCRYPTED:
            return []
        return ["a value was encrypted to %r" % (secret,)]

    def _stored(self, key):
        """Ask the deployment what it has: the client would decrypt it."""
        kinds = {name: {"$type": "$" + name} for name in ("secret", "text")}
        (told,) = self.collection.aggregate([{"$match": key}, {"$project": kinds}])
        return [
            "the deployment has a value that is not encrypted, of type %r" % (told.get(name),)
            for name in kinds
            if told.get(name) != "binData"
        ]

    def close(self):
        self._encryption.close()
        Store.close(self)
