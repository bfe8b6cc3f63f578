"""A Django view writes to a SQLite database in a transaction, with a connection a thread."""

import os
import tempfile

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import re_path

DIRECTORY = tempfile.TemporaryDirectory(prefix="wsgiproof-truth-")  # goes as Python ends
PATH = os.path.join(DIRECTORY.name, "hits.db")
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PATH}}
DATABASES["default"]["OPTIONS"] = {"timeout": 30, "transaction_mode": "IMMEDIATE"}
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES=DATABASES)
django.setup()


def page(request):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS hits (n INTEGER PRIMARY KEY)")
        cursor.execute("INSERT OR REPLACE INTO hits VALUES (1)")
    return HttpResponse("counted")


urlpatterns = [re_path("", page)]
application = get_wsgi_application()
