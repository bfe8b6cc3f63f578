"""The SQLite database has a relative name: a plain daemon process works in / and can't open it."""

import sqlite3
from contextlib import closing


def application(environ, start_response):
    with closing(sqlite3.connect("visits.db", timeout=20)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS visits (path TEXT)")
        database.execute("DELETE FROM visits")
        database.execute("INSERT INTO visits VALUES (?)", (environ.get("SCRIPT_NAME", ""),))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"counted"]
