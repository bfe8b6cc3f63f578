"""From axes to cells: every combination is accounted for, once, with its reason if it is none."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.cells import CELL, cell_with, combination, configured, exclusion
from wsgiproof.config.axes import ALL_AXES, by_name
from wsgiproof.config.matrix import (
    Matrix,
    ResolvedAxes,
    SourceOrReason,
    candidates,
    expand,
)
from wsgiproof.errors import UsageError
from wsgiproof.provision.toolchain import Apache, Python, Source
from wsgiproof.records.cell import (
    MOD_WSGI_HTTPD,
    Cell,
    InterpreterKind,
    Loading,
    Mode,
    Mpm,
    Resolution,
)
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.subjects.axis import Axis
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.pymongo.axes import Topology, Transport
from wsgiproof.subjects.pymongo.backends import MongoDBs, Server, why_incompatible
from wsgiproof.subjects.pymongo.mongod_binary import Mongod
from wsgiproof.subjects.pymongo.workloads import WORKLOADS
from wsgiproof.subjects.registry import DEFAULT

UNSUPPORTED = "mod-wsgi 6.1.1 does not support Python 3.9.18"


def python(name: str, version: str, **changes: Any) -> Python:
    free = name.endswith("t")
    made = Python(
        version=version, path=f"/opt/{name}/bin/python", prefix=f"/opt/{name}", shared=True,
        headers=True, stdlib="", free_threaded=free, name=name, asked=name,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


PYTHONS = {
    "": python("3.12", "3.12.1", asked=""),
    "3.9": python("3.9", "3.9.18"),
    "3.12": python("3.12", "3.12.1"),
    "3.13": python("3.13", "3.13.0"),
    "3.13t": python("3.13t", "3.13.0"),
}
MOD_WSGIS: dict[str, SourceOrReason] = {
    "": Source(version="6.1.1"),
    "5.0.2": Source(version="5.0.2"),
    "6.1.1": Source(version="6.1.1"),
    "/src/mod_wsgi": Source(version="6.1.1", path="/src/mod_wsgi", archive="/a.tar.gz"),
}
PYMONGOS: dict[str, SourceOrReason] = {
    "": Source(version="4.20.0"),
    "latest": Source(version="4.20.0"),
    "3.6.1": Source(version="3.6.1"),
    "/src/pymongo": Source(version="4.20.0", path="/src/pymongo", archive="/p.tar.gz"),
}


def _mongod(version: str) -> Mongod:
    return Mongod(path=Path(f"/opt/mongodb-{version}/mongod"), version=version)


SERVERS = {
    "": Server(name="", asked="", target=_mongod("6.0.5")),
    "old": Server(name="old", asked="/opt/old/mongod", target=_mongod("4.4.2")),
    "there": Server(name="there", asked="env:URI", target="mongodb://there/"),
}
EXISTING = {"there": (Topology.REPLICA_SET, "7.0.0")}


DEBIANS, BUILT = "/usr/sbin/apache2", MOD_WSGI_HTTPD
APACHES = (
    Apache(version="2.4.71", mpms=(Mpm.PREFORK, Mpm.EVENT)),
    Apache(asked=DEBIANS, name="2.4.71", version="2.4.71", mpms=(Mpm.PREFORK, Mpm.EVENT)),
    Apache(asked=BUILT, name="2.4.69", version="2.4.69", mpms=tuple(Mpm)),
)


def resolved() -> ResolvedAxes:
    names = {one.name for one in PYTHONS.values()}
    return ResolvedAxes(
        pythons=PYTHONS,
        sources={
            "mod_wsgi": {
                (name, value): UNSUPPORTED
                if name == "3.9" and answer.version >= "6" and isinstance(answer, Source)
                else answer
                for name, (value, answer) in product(names, MOD_WSGIS.items())
                if isinstance(answer, Source)
            },
            "pymongo": {key: PYMONGOS[key[1]] for key in product(names, PYMONGOS)},
        },
        apaches={one.asked: one for one in APACHES},
        backends=MongoDBs(SERVERS, EXISTING),
    )


def matrix_of(**options: Any) -> Matrix:
    return expand(configured(**options), resolved())


def reasons(matrix: Matrix) -> set[str]:
    return {one.reason for one in matrix.excluded}


def test_the_default_is_both_topologies_in_both_modes() -> None:
    cells = matrix_of().cells
    assert {(cell.value("topology"), cell.mode) for cell in cells} == set(
        product((Topology.STANDALONE, Topology.REPLICA_SET), Mode)
    )
    assert len(cells) == 4


def test_every_cell_carries_what_was_asked_for() -> None:
    options = {"mpm": (Mpm.EVENT,), "sub_interpreters": 5, "control": "leak-connection"}
    for cell in matrix_of(**options, maximum_requests=7).cells:
        assert (cell.python, cell.mod_wsgi, cell.value("pymongo")) == ("3.12.1", "6.1.1", "4.20.0")
        assert (cell.mpm, cell.sub_interpreters, cell.maximum_requests) == (Mpm.EVENT, 5, 7)
        assert cell.control == "leak-connection"


def test_only_the_children_of_embedded_mode_vary_in_number() -> None:
    cells = matrix_of(processes=8, min_processes=2).cells
    assert {(cell.mode, cell.processes, cell.min_processes) for cell in cells} == {
        (Mode.EMBEDDED, 8, 2),
        (Mode.DAEMON, 8, 0),
    }


def test_the_likely_to_fail_come_first() -> None:
    cells = matrix_of(
        python=("3.12", "3.13"),
        mod_wsgi=("5.0.2", "6.1.1"),
        interpreter=(InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL),
    ).cells
    assert cells[0].interpreter is InterpreterKind.OWN_GIL
    assert (cells[0].python, cells[0].mode) == ("3.13.0", Mode.EMBEDDED)
    assert (cells[-1].mod_wsgi, cells[-1].python) == ("5.0.2", "3.12.1")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"python": ("3.9", "3.12"), "mod_wsgi": ("5.0.2", "6.1.1")}, UNSUPPORTED),
        (
            {"python": ("3.9", "3.12"), "mod_wsgi": ("5.0.2", "6.1.1"),
             "interpreter": (InterpreterKind.MAIN, InterpreterKind.OWN_GIL)},
            "Python 3.9.18 has no interpreters with their own GIL (PEP 684)",
        ),
        (
            {"mod_wsgi": ("5.0.2", "6.1.1"),
             "interpreter": (InterpreterKind.MAIN, InterpreterKind.OWN_GIL)},
            "mod_wsgi 5.0.2 has no directive for own-gil interpreters",
        ),
        (
            {"python": ("3.13", "3.13t"),
             "interpreter": (InterpreterKind.SHARED_GIL, InterpreterKind.FREE_THREADED)},
            "Python 3.13.0 is not built with --disable-gil",
        ),
        (
            {"python": ("3.13", "3.13t"),
             "interpreter": (InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL)},
            "Python 3.13.0 is built without a GIL",
        ),
        (
            {"mongodb": ("", "there")},
            "the existing deployment is a replica-set",
        ),
        (
            {"pymongo": ("3.6.1", "latest"), "mongodb": ("", "old")},
            "PyMongo 3.6.1 is older than 3.7 and can't connect to MongoDB 6.0.5: "
            "test only encoding and decoding, with '--topology none'",
        ),
        (
            {"mod_wsgi": ("5.0.2", "6.1.1"),
             "exclude": (exclusion(mod_wsgi=("5.*",), mode=(Mode.DAEMON,), reason="known"),)},
            "known",
        ),
        (
            {"mode": tuple(Mode), "exclude": (exclusion(python=("3.12.1",), mode=(Mode.DAEMON,),
                                                       topology=(Topology.STANDALONE,)),)},
            "it is excluded by the configuration",
        ),
        (
            {"loading": (Loading.LAZY, Loading.EAGER), "mode": tuple(Mode),
             "interpreter": (InterpreterKind.MAIN,)},
            "when the main interpreter of an embedded process with one thread loads a script can't "
            "be seen",
        ),
        (
            {"threads": 5},
            "a child of the MPM prefork has one thread: --threads needs another --mpm",
        ),
        (
            {"transport": ("plain", "tls"), "topology": ("none", "standalone")},
            "without a deployment there is no connection that could have TLS",
        ),
        (
            {"transport": ("plain", "tls"), "mongodb": ("", "there")},
            "an existing deployment has TLS if its URI says so",
        ),
        (
            {"transport": ("plain", "tls"), "pymongo": ("3.6.1", "latest"), "mongodb": ("old",)},
            "PyMongo 3.6.1 is older than 3.9: no tls in its URIs",
        ),
        (
            {"uri_options": ("none", "w=1"), "topology": ("none", "standalone")},
            "without a deployment there is no URI to add options to",
        ),
        ({"uri_options": ("w=2", "W=1")}, "w=2 takes 2 members, and there is one"),
        (
            {"uri_options": ("none", "w=far"), "mongodb": ("", "there")},
            "w=far takes members with this tag, and none has a tag",
        ),
        (
            {"uri_options": ("w=1&journal=true", "W=1&journal=true"), "mode": (Mode.DAEMON,),
             "topology": (Topology.STANDALONE,)},
            "it is the same as py3.12-mw6.1.1-pymongo4.20.0-standalone-w_1_journal_true-daemon-"
            "prefork-shared-gil",
        ),
        (
            {"workload": ("crud", "transactions"), "topology": ("standalone", "replica-set")},
            "the workload transactions needs a replica set or a sharded cluster",
        ),
        (
            {"workload": ("crud", "change-streams"), "topology": ("standalone", "replica-set")},
            "the workload change-streams needs a replica set or a sharded cluster",
        ),
        (
            {"workload": ("raw-bson", "gridfs"), "topology": ("none", "standalone")},
            "the workload gridfs needs a deployment",
        ),
        (
            {"workload": ("crud", "async"), "pymongo": ("3.6.1", "latest"), "mongodb": ("old",)},
            "PyMongo 3.6.1 is older than 4.9 and has no AsyncMongoClient",
        ),
        (
            {"workload": ("bulk", "raw-bson"), "pymongo": ("3.6.1", "latest"),
             "mongodb": ("old",)},
            "PyMongo 3.6.1 is older than 3.8 and has no TypeRegistry",
        ),
        ({"pymongo": ("latest", "")},
         "it is the same as py3.12-mw6.1.1-pymongo4.20.0-standalone-daemon-prefork-shared-gil"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_left_out_with_the_reason(
    options: dict[str, Any], reason: str
) -> None:
    matrix = matrix_of(**options)
    assert reason in reasons(matrix)
    assert len(matrix.cells) + len(matrix.excluded) == len(list(candidates(configured(**options))))


def test_only_uv_has_a_resolution() -> None:
    old = python("2.7", "2.7.18")
    axes = resolved()
    sources = {
        axis: {**its, **{("2.7", value): its["3.12", value] for _, value in its}}
        for axis, its in axes.sources.items()
    }
    axes = msgspec.structs.replace(axes, pythons={"2.7": old}, sources=sources)
    options: dict[str, Any] = {"python": ("2.7",), "topology": (Topology.NONE,)}
    assert expand(configured(**options), axes).cells
    with pytest.raises(UsageError, match=r"pip, which installs for Python 2\.7\.18, has no --res"):
        expand(configured(**options, resolution=Resolution.LOWEST_DIRECT), axes)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"python": ("3.9", "3.12"), "mod_wsgi": ("6.1.1",)},
            "python 3.9 is in no cell at all: mod",
        ),
        (
            {"workload": ("crud", "gridfs"), "control": "leave-file-open"},
            "workload crud is in no cell at all: the control leave-file-open needs the workload gr",
        ),
        (
            {"workload": ("gridfs",), "control": "leak-connection"},
            "there is no cell at all: the control leak-connection needs the workload crud",
        ),
        ({"mpm": (Mpm.WORKER, Mpm.EVENT)}, "mpm worker is in no cell at all: this Apache has no"),
        (
            {"interpreter": (InterpreterKind.FREE_THREADED,)},
            "there is no cell at all: Python 3.12.1",
        ),
        (
            {
                "topology": (Topology.STANDALONE, Topology.REPLICA_SET),
                "exclude": (exclusion(topology=(Topology.REPLICA_SET,), reason="slow"),),
            },
            "topology replica-set is in no cell at all: slow",
        ),
    ],
)
def test_a_value_of_an_axis_that_is_in_no_cell_is_an_error(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError) as caught:
        matrix_of(**options)
    assert str(caught.value).startswith(why)


def test_extras_are_installed_with_the_package_that_has_them() -> None:
    matrix = matrix_of(extras=("none", "zstd, ocsp"), topology=("none",), mode=("daemon",))
    named = {cell.value("extras"): matrix.specs[cell.id].extras for cell in matrix.cells}
    assert named == {"none": {}, "ocsp,zstd": {"pymongo": ("ocsp", "zstd")}}


def test_an_include_has_values_of_its_own_and_the_axes_for_the_rest() -> None:
    include = combination(python=("3.13t",), interpreter=(InterpreterKind.FREE_THREADED,))
    matrix = matrix_of(include=(include,), topology=(Topology.STANDALONE,))
    assert {(cell.python_name, cell.interpreter, cell.mode) for cell in matrix.cells} == {
        ("3.12", "shared-gil", "daemon"),
        ("3.12", "shared-gil", "embedded"),
        ("3.13t", "free-threaded", "daemon"),
        ("3.13t", "free-threaded", "embedded"),
    }


def test_without_a_deployment_the_kind_of_mongodb_makes_no_difference() -> None:
    matrix = matrix_of(topology=(Topology.NONE,), mongodb=("", "old"), mode=(Mode.DAEMON,))
    (cell,) = matrix.cells
    assert cell.value("mongodb") == ""
    assert reasons(matrix) == {f"it is the same as {cell.id}"}


def test_a_deployment_that_is_there_says_which_topology_it_is() -> None:
    matrix = matrix_of(mongodb=("there",))
    assert {cell.value("topology") for cell in matrix.cells} == {Topology.REPLICA_SET}
    assert "the existing deployment is a replica-set" in reasons(matrix)
    with pytest.raises(
        UsageError, match="there is no cell at all: the existing deployment is a re"
    ):
        matrix_of(mongodb=("there",), topology=(Topology.STANDALONE,))


def test_a_uri_is_shown_nowhere_since_it_may_hold_a_password() -> None:
    uri = "mongodb://ann:hunter2@db.example/"
    server = msgspec.structs.replace(SERVERS["there"], name="uri")
    backends = MongoDBs({**SERVERS, uri: server}, {**EXISTING, uri: EXISTING["there"]})
    why = msgspec.structs.replace(resolved(), backends=backends)
    matrix = expand(configured(mongodb=(uri,)), why)
    assert {one.axes["mongodb"] for one in matrix.excluded} == {"uri"}
    slow = exclusion(mongodb=("uri",), reason="slow")
    with pytest.raises(UsageError, match="mongodb uri is in no cell at all: slow") as caught:
        expand(configured(mongodb=("", uri), exclude=(slow,)), why)
    assert "hunter2" not in str(caught.value)


def test_the_main_interpreter_is_alone_in_its_process() -> None:
    (cell,) = matrix_of(
        interpreter=(InterpreterKind.MAIN,),
        mode=(Mode.DAEMON,),
        topology=(Topology.STANDALONE,),
        sub_interpreters=4,
    ).cells
    assert cell.sub_interpreters == 1
    assert cell.id.endswith("-main")


def test_a_selection_is_by_globs_and_the_rest_is_accounted_for() -> None:
    matrix = matrix_of(only=("*standalone*", "*replica-set-daemon*"))
    assert {(cell.value("topology"), cell.mode) for cell in matrix.cells} == {
        (Topology.STANDALONE, Mode.DAEMON),
        (Topology.STANDALONE, Mode.EMBEDDED),
        (Topology.REPLICA_SET, Mode.DAEMON),
    }
    (left,) = matrix.excluded
    assert left.axes["mode"] == "embedded"
    assert "it is not selected" in left.reason


def test_a_selection_that_holds_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="no cell matches 'standalone'"):
        matrix_of(only=("*daemon*", "standalone"))


RELOAD, FAILOVER, IDLE = ExtraPhase.RELOAD, ExtraPhase.FAILOVER, ExtraPhase.IDLE


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"phases": (RELOAD,), "mode": (Mode.EMBEDDED,)}, "the phase reload needs daemon mode"),
        ({"phases": (FAILOVER,), "topology": (Topology.NONE,)}, "failover needs a deployment"),
        (
            {
                "phases": (FAILOVER, RELOAD),
                "mode": (Mode.EMBEDDED,),
                "topology": (Topology.REPLICA_SET,),
                "mongodb": ("there",),
            },
            "the phase failover never harms an existing deployment",
        ),
    ],
)
def test_a_cell_without_any_phase_that_was_asked_for_is_none(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        matrix_of(**options)


def test_a_cell_with_one_of_the_phases_is_one() -> None:
    assert {cell.mode for cell in matrix_of(phases=(RELOAD,)).cells} == {Mode.DAEMON}
    assert len(matrix_of(phases=(RELOAD, IDLE)).cells) == 4
    assert len(matrix_of(phases=()).cells) == 4


def test_parts_are_known_for_each_cell() -> None:
    matrix = matrix_of(pymongo=("/src/pymongo", "latest"), mod_wsgi=("/src/mod_wsgi",))
    for cell in matrix.cells:
        assert matrix.specs[cell.id].packages["pymongo"].path == cell.of_subject[0].path
        assert matrix.specs[cell.id].mod_wsgi.archive == "/a.tar.gz"
    assert {cell.id.split("-standalone")[0].split("-replica")[0] for cell in matrix.cells} == {
        "py3.12-mw6.1.1+src-pymongo4.20.0+src",
        "py3.12-mw6.1.1+src-pymongo4.20.0",
    }


@pytest.mark.parametrize(
    ("pymongo", "mongodb"),
    [
        *(("4.20.0", "8.0.1"), ("3.7.0", "6.0.5"), ("3.4.0", "5.0.32"), ("3.6.1", "4.4.2")),
        *(("4.0", ""), ("3.3.1", "4.4.2"), ("2.8", "4.2.6")),
    ],
)
def test_what_pymongo_can_speak_to(pymongo: str, mongodb: str) -> None:
    assert why_incompatible(pymongo, mongodb) == ""


@pytest.mark.parametrize("mongodb", ["4.2.6", "6.0.5", ""])
@pytest.mark.parametrize("pymongo", ["2.6.3", "2.7.2"])
def test_before_scram_pymongo_cannot_authenticate(pymongo: str, mongodb: str) -> None:
    why = f"PyMongo {pymongo} is older than 2.8 and has no SCRAM-SHA-1: "
    assert why_incompatible(pymongo, mongodb).startswith(why)


_AXES = {
    "python": some.sampled_from(["3.9", "3.12", "3.13", "3.13t"]),
    "mod_wsgi": some.sampled_from(["5.0.2", "6.1.1", "/src/mod_wsgi"]),
    "pymongo": some.sampled_from(["latest", "3.6.1", "/src/pymongo"]),
    "topology": some.sampled_from(Topology),
    "mode": some.sampled_from(Mode),
    "mpm": some.sampled_from(Mpm),
    "interpreter": some.sampled_from(InterpreterKind),
    "loading": some.sampled_from(Loading),
    "mongodb": some.sampled_from(["", "old", "there"]),
    "transport": some.sampled_from(Transport),
    "workload": some.sampled_from([*WORKLOADS]),
    "extras": some.sampled_from(["none", "snappy", "zstd,ocsp"]),
    "uri_options": some.sampled_from(["none", "w=1", "w=2", "compressors=zlib&w=majority"]),
}
_TABLE = some.fixed_dictionaries(
    {}, optional={k: some.lists(v, max_size=2) for k, v in _AXES.items()}
)


def _tuples(table: dict[str, list[Any]]) -> dict[str, Any]:
    return {axis: tuple(values) for axis, values in table.items() if values}


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    _TABLE,
    some.lists(_TABLE, max_size=2),
    some.lists(_TABLE, max_size=2),
    some.lists(
        some.sampled_from(["*", "*daemon*", "*own-gil", "*py3.1[23]*", "nothing"]), max_size=2
    ),
)
def test_no_combination_is_lost_or_comes_twice(
    axes: dict[str, Any], include: list[Any], exclude: list[Any], only: list[str]
) -> None:
    config = configured(
        **_tuples(axes),
        include=tuple(combination(**_tuples(one)) for one in include),
        exclude=tuple(exclusion(**_tuples(one)) for one in exclude if _tuples(one)),
        only=tuple(only),
    )
    try:
        matrix = expand(config, resolved())
    except UsageError as error:
        assert "\n" not in str(error)
        return
    ids = [cell.id for cell in matrix.cells]
    assert len(set(ids)) == len(ids) > 0
    asked = list(candidates(config))
    assert len({tuple(one.values()) for one in asked}) == len(asked)
    assert len(matrix.cells) + len(matrix.excluded) == len(asked)
    assert all(one.reason for one in matrix.excluded)


@pytest.mark.parametrize(
    ("changes", "rendered"),
    [
        ({}, "py3.12-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil"),
        (
            {"topology": Topology.REPLICA_SET, "mode": Mode.EMBEDDED, "mpm": Mpm.WORKER},
            "py3.12-mw5.0.2-pymongo4.20.0-replica-set-embedded-worker-shared-gil",
        ),
        (
            {"sub_interpreters": 4, "control": "crash-at-exit"},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil-x4-crash-at-exit",
        ),
        ({"python": "3.9"}, "py3.9-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil"),
        (
            {
                "python_name": "3.13t",
                "interpreter": InterpreterKind.FREE_THREADED,
                "mongodb": "old",
            },
            "py3.13t-mw5.0.2-pymongo4.20.0-standalone-old-daemon-prefork-free-threaded",
        ),
        (
            {"processes": 2, "threads": 5, "maximum_requests": 9},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil-p2-t5-recycled9",
        ),
        (
            {"mode": Mode.EMBEDDED, "processes": 16, "min_processes": 2},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-embedded-prefork-shared-gil-p2to16",
        ),
        (
            {"loading": Loading.LAZY, "sub_interpreters": 4},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil-lazy-x4",
        ),
        (
            {"workload": "gridfs", "mongodb": "old"},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-gridfs-old-daemon-prefork-shared-gil",
        ),
        (
            {"transport": "tls", "uri_options": "compressors=zlib&w=1", "extras": "zstd,ocsp"},
            "py3.12-mw5.0.2-pymongo4.20.0-standalone-tls-compressors_zlib_w_1-ocsp+zstd-daemon-prefork-shared-gil",
        ),
        (
            {"mod_wsgi_path": "/x/mod_wsgi.so", "pymongo_path": "/x/pymongo-4.20.0-cp312.whl"},
            "py3.12-mw5.0.2+so-pymongo4.20.0+whl-standalone-daemon-prefork-shared-gil",
        ),
    ],
)
def test_the_id_is_rendered_from_the_axes(changes: dict[str, Any], rendered: str) -> None:
    assert cell_with(CELL, **changes).id == rendered


def test_two_subjects_cannot_have_an_axis_of_one_name() -> None:
    class Other(Subject):
        name = title = "other"
        axes = (Axis(name="topology", metavar="NAME", help="", about=""),)

    assert set(by_name([DEFAULT])) == set(ALL_AXES)
    with pytest.raises(ValueError, match="there are two axes 'topology'"):
        by_name([DEFAULT, Other()])


def test_an_id_names_one_directory() -> None:
    assert not set(CELL.id) & set("/ \t\n\0")


def test_axes_name_every_field() -> None:
    of_subject = {
        "pymongo", "topology", "workload", "mongodb", "transport", "uri_options", "extras",
    }  # fmt: skip
    assert {*CELL.axes} == {*Cell.__struct_fields__} - {"of_subject"} | of_subject
    assert set(ALL_AXES) <= set(CELL.axes)


def test_each_apache_makes_cells_of_its_own() -> None:
    plain = matrix_of(mode=("daemon",), topology=("none",))
    both = matrix_of(mode=("daemon",), topology=("none",), httpd=(DEBIANS, BUILT))
    assert {(cell.httpd, cell.httpd_path) for cell in both.cells} == {
        ("2.4.71", DEBIANS),
        ("2.4.69", BUILT),
    }
    assert len({cell.id for cell in both.cells}) == 2 * len(plain.cells)
    assert all("-httpd2.4." in cell.id for cell in both.cells)
    assert not any(cell.httpd for cell in plain.cells), "that of the machine, whichever it is"


def test_an_apache_has_the_cells_of_its_mpms_only() -> None:
    axes = {"mode": ("daemon",), "topology": ("none",), "mpm": ("worker", "event")}
    matrix = matrix_of(**axes, httpd=(DEBIANS, BUILT))
    assert {(cell.httpd, cell.mpm) for cell in matrix.cells} == {
        ("2.4.71", "event"),
        ("2.4.69", "worker"),
        ("2.4.69", "event"),
    }
    assert reasons(matrix) == {"Apache 2.4.71 has no MPM 'worker'"}


@pytest.mark.parametrize("pattern", [DEBIANS, "2.4.71", "/usr/*"])
def test_an_apache_is_excluded_by_its_path_or_its_version(pattern: str) -> None:
    excluded = exclusion(httpd=(pattern,), mode=("daemon",))
    matrix = matrix_of(httpd=(DEBIANS, BUILT), exclude=(excluded,))
    assert {cell.httpd_path for cell in matrix.cells if cell.mode == "daemon"} == {BUILT}
    assert {cell.httpd_path for cell in matrix.cells} == {DEBIANS, BUILT}
