"""A Pyramid application with a route, a view and a JSON renderer."""

from pyramid.config import Configurator


def page(request):
    return {"method": request.method, "parameters": dict(request.params)}


CONFIGURATOR = Configurator()
CONFIGURATOR.add_route("page", "/*rest")
CONFIGURATOR.add_view(page, route_name="page", renderer="json")
application = CONFIGURATOR.make_wsgi_app()
