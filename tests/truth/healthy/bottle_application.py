"""A Bottle application with a route, a template and a cookie."""

import bottle

application = bottle.Bottle()


@application.route("/")
def page():
    bottle.response.set_cookie("theme", "dark", secret="of a test")
    return bottle.template("Hello {{name}}!", name=bottle.request.query.name or "you")


@application.error(404)
def fallback(error):
    bottle.response.status = 200
    return "the front page"
