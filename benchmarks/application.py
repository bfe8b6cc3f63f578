"""What the built-in application costs: CPU time of a request against that of the recipe's own.

    python benchmarks/application.py [--requests 1000] [--sdist PATH]

Both are called in turns in one process, against a real mongod, so that noise meets both alike. A
request of either reads 20 documents and encodes and decodes one. Ours have every BSON type, and
each value that is read is checked; the recipe checks only the one that never left the process. So
there are two ratios: each with its own documents, and both with those of the recipe, for which ours
reads them back from its own collection and checks them in the same way.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pymongo
import recipe_files
from probe import load

from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

_ROUND = 20
"""Requests of one application between those of another."""


def main() -> None:
    """Print the CPU time of a request of each application, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--sdist", type=Path, help="PyMongo's sdist, packed or not")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        files = recipe_files.fetch(pymongo.version, scratch, arguments.sdist)
        with start_deployment(Topology.STANDALONE, find_mongod(None), scratch, scratch) as ours:
            ours.prepare("probe")
            uri = ours.uri("probe")
            application = load(scratch, uri)._application
            recipe = recipe_application(files, uri)
            atexit.unregister(application._close)
            same = workload_of(recipe.doc, uri)
            environ = dict.fromkeys(
                ("mod_wsgi.process_group", "mod_wsgi.application_group", "wsgi.multithread"), ""
            )
            report(
                {
                    "the recipe's": lambda: recipe.application(environ, lambda *_: None),
                    "ours": application._workload.work,
                    "ours, the recipe's documents": same.work,
                },
                arguments.requests,
            )
            recipe.collection.drop()
            same.close()
            application._workload.close()  # and every client, also those of the others


def recipe_application(recipe: Path, uri: str) -> Any:
    """Load the recipe's script, which defines its application only inside mod_wsgi."""
    inside = ModuleType("mod_wsgi")
    inside.__dict__["version"] = (5, 0, 2)
    sys.modules["mod_wsgi"] = inside
    module = ModuleType("recipe")
    module.__dict__["__file__"] = str(recipe)
    code = compile(recipe_files.application(recipe, uri, "probe"), str(recipe), "exec")
    exec(code, module.__dict__)
    return module


def workload_of(document: dict[str, Any], uri: str) -> Any:
    """Return our workload with 20 copies of a document, as PyMongo reads it, and that one."""
    from wsgiproof_agent.subject import codec, roundtrip
    from wsgiproof_agent.subject.compare import Expected
    from wsgiproof_agent.subject.workload import Workload

    class Same:
        """The parts of ``roundtrip`` that the workload uses."""

        read = codec.decode(codec.encode(document))
        whole = Expected(read)

        def documents(self, n: int) -> list[dict[str, Any]]:
            return [{**document, "_id": number, "index": number} for number in range(n)]

        def expected(self, written: dict[str, Any]) -> Any:
            return Expected({**self.read, "_id": written["_id"], "index": written["index"]})

        def encode_decode(self) -> list[str]:
            found: list[str] = self.whole.problems(codec.decode(codec.encode(document)))
            return found

    from wsgiproof_agent.subject import store, workload

    settings = {"uri": uri, "database": "probe", "documents": 20, "batch_size": 10}
    settings |= {"prefix": "same_", "close": False}
    store.roundtrip = workload.roundtrip = Same()
    try:
        made = Workload(settings)
    finally:
        store.roundtrip = workload.roundtrip = roundtrip
    same = Same()
    made.work = lambda: [*made.store.read_back(), *same.encode_decode()]
    return made


def report(applications: dict[str, Callable[[], Any]], requests: int) -> None:
    """Print the median CPU microseconds of a request, and the ratio to the first application."""
    rounds: dict[str, list[float]] = {name: [] for name in applications}
    gc.collect()
    for _ in range(max(1, requests // _ROUND)):
        for name, call in applications.items():
            rounds[name].append(spent(call))
    first, *others = applications
    print(f"{first:30} {statistics.median(rounds[first]) * 1e6:6.0f} us CPU a request")
    for name in others:
        ratios = [own / of for own, of in zip(rounds[name], rounds[first], strict=True)]
        print(
            f"{name:30} {statistics.median(rounds[name]) * 1e6:6.0f} us CPU a request, "
            f"{statistics.median(ratios):.2f} of the first (median of {len(ratios)} paired rounds)"
        )


def spent(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of this thread for each of a round of calls."""
    started = time.thread_time()
    for _ in range(_ROUND):
        wrong = call()
        assert not isinstance(wrong, list) or not wrong or isinstance(wrong[0], bytes), wrong
    return (time.thread_time() - started) / _ROUND


if __name__ == "__main__":
    main()
