import sqlite3


def identity(settings):
    return {"version": sqlite3.sqlite_version}


def fill_pools(seconds, together):
    pass


class Workload(object):
    def __init__(self, settings):
        self._uri = settings["uri"]

    def connect(self):
        return sqlite3.connect(self._uri, uri=True, timeout=30, isolation_level=None)

    def work(self):
        database = self.connect()
        back = database.execute("SELECT ?, ?", ("one", 1)).fetchone()
        database.close()
        return [] if back == ("one", 1) else ["read %r" % (back,)]

    def close(self):
        pass
