"""A Django project in one file, with a view, a template, the cache and a signed cookie."""

import django
from django.conf import settings
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import Context, Engine
from django.urls import re_path

if not settings.configured:
    settings.configure(SECRET_KEY="of a test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
    django.setup()
TEMPLATE = Engine().from_string("{% for name in names %}{{ name }} {% endfor %}")


def page(request):
    names = cache.get_or_set("names", ["anna", "<bert>"], 60)
    answer = HttpResponse(TEMPLATE.render(Context({"names": names})))
    answer.set_signed_cookie("theme", "dark")
    return answer


urlpatterns = [re_path("", page)]
application = get_wsgi_application()
