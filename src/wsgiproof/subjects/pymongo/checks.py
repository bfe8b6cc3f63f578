"""The check that only PyMongo has."""

from __future__ import annotations

from wsgiproof.judge.problems import no_problems

roundtrip = no_problems(
    "roundtrip",
    about="Every BSON value comes back with the same value and the same type.",
    unit="value",
    seen="changed while they were encoded and decoded or sent through the server",
    meaning="PyMongo returned another value or another type than it was given; a type of the same "
    "name, but not the same class, comes from another interpreter's modules",
    action="rerun this cell with one sub interpreter to see whether it takes a second one",
    passed="every BSON type came back unchanged",
)
