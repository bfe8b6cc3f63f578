"""A Flask application with a template, a signed session cookie and an error handler."""

from flask import Flask, render_template_string, session

application = Flask(__name__)
application.secret_key = "of a test"


@application.route("/", strict_slashes=False)
def page():
    session["visits"] = session.get("visits", 0) + 1
    return render_template_string("visit {{ number }} of {{ user }}", number=1, user="<you>")


@application.errorhandler(404)
def fallback(error):
    return "the front page", 200
