"""SQLAlchemy 2.1's extensions can't be loaded by a second interpreter, so one never answers."""

import sqlalchemy

ENGINE = sqlalchemy.create_engine("sqlite://")


def application(environ, start_response):
    with ENGINE.connect() as connection:
        number = connection.execute(sqlalchemy.text("SELECT 7")).scalar_one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(number).encode()]
