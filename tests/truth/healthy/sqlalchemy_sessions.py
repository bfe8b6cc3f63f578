"""SQLAlchemy's ORM with a scoped session, which each request rolls back and removes at its end."""

import os
import tempfile

from sqlalchemy import Column, Integer, String, create_engine, select
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker

DIRECTORY = tempfile.TemporaryDirectory(prefix="wsgiproof-truth-")  # goes as Python ends
ENGINE = create_engine("sqlite:///" + os.path.join(DIRECTORY.name, "shop.db"))
SESSION = scoped_session(sessionmaker(ENGINE))
Base = declarative_base()


class Article(Base):
    __tablename__ = "articles"
    number = Column(Integer, primary_key=True)
    name = Column(String)


Base.metadata.create_all(ENGINE)


def application(environ, start_response):
    found = SESSION.execute(select(Article).where(Article.number == 7)).first()
    SESSION.remove()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"none" if found is None else b"one"]
