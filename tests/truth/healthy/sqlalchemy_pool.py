"""SQLAlchemy with a pool of five connections to a SQLite file, and five more when it is busy."""

import atexit
import os
import tempfile

import sqlalchemy
from sqlalchemy.pool import QueuePool

HANDLE, PATH = tempfile.mkstemp(prefix="wsgiproof-truth-", suffix=".db")
os.close(HANDLE)
ENGINE = sqlalchemy.create_engine(
    "sqlite:///" + PATH, poolclass=QueuePool, pool_size=5, max_overflow=5, pool_timeout=60
)
atexit.register(lambda: (ENGINE.dispose(), os.unlink(PATH)))
with ENGINE.begin() as connection:
    connection.execute(sqlalchemy.text("CREATE TABLE articles (n INTEGER)"))
    connection.execute(sqlalchemy.text("INSERT INTO articles VALUES (7)"))


def application(environ, start_response):
    with ENGINE.connect() as connection:
        number = connection.execute(sqlalchemy.text("SELECT n FROM articles")).scalar_one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(number).encode()]
