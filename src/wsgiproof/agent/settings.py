"""The settings that the host wrote for this application."""

import json
import os

_PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "settings.json")


def load(path=_PATH):
    """Return the settings as a dict; the protocol explains them."""
    with open(path) as file:
        return json.load(file)
