"""Each request opens an SQLite database in memory, fills a table, reads it and closes it."""

import sqlite3
from contextlib import closing


def application(environ, start_response):
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE orders (article INTEGER)")
        database.executemany("INSERT INTO orders VALUES (?)", [(n,) for n in range(20)])
        total = database.execute("SELECT sum(article) FROM orders").fetchone()[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(total).encode()]
