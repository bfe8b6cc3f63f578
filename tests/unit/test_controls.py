"""The table of controls, and what each common fault does once it is called, without a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.factories import ALL_CHECKS
from tests.unit.test_inside import REQUEST, App
from wsgiproof.records.cell import Mode
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.controls import COMBINED, COMMON, FAULTS, LATE, LEAKS, Control, by_name
from wsgiproof.subjects.registry import DEFAULT, SUBJECTS

CONTROLS = by_name(())
"""Those of a subject that has none of its own."""
EVERY = [
    pytest.param(control, subject.every_control(), id=f"{subject.name}-{control.name}")
    for subject in SUBJECTS.values()
    for control in subject.every_control().values()
]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_names_are_unique(subject: Subject) -> None:
    every = [*COMMON, *subject.controls]
    combined = {one.combined_in for one in every if one.combined_in}
    assert len(subject.every_control()) == len(every) + len(combined)


@pytest.mark.parametrize(("control", "every"), EVERY)
def test_a_fault_has_a_twin_and_a_twin_its_fault(
    control: Control, every: dict[str, Control]
) -> None:
    assert bool(every[control.counterpart].trips) != bool(control.trips)


@pytest.mark.parametrize(("control", "every"), EVERY)
def test_what_trips_is_a_check_that_there_is(control: Control, every: dict[str, Control]) -> None:
    assert control.trips in {*ALL_CHECKS, ""}
    assert control.modes


def test_no_common_control_needs_a_control_of_a_subject() -> None:
    assert all(control.counterpart in CONTROLS for control in COMMON)


def test_only_negative_controls_are_combined_into_one() -> None:
    parts = DEFAULT.every_control()[COMBINED].parts
    assert {"own-interpreters", "leave-nothing", "close-cursor"} <= {*parts}
    assert not any(DEFAULT.every_control()[name].trips for name in parts)
    assert {*CONTROLS[COMBINED].parts} < {*parts}


@pytest.mark.parametrize("name", [FAULTS, LEAKS, LATE])
def test_faults_are_combined_that_trip_checks_of_their_own(name: str) -> None:
    every = DEFAULT.every_control()
    combined = every[name]
    tripped = [every[part].trips for part in combined.parts]
    assert len(tripped) == len({*tripped} - {""}) > 1
    assert combined.trips in tripped
    modes = {every[part].modes for part in combined.parts}
    assert modes == {tuple(Mode)}
    assert not any(every[part].maximum_requests for part in combined.parts)


@pytest.mark.parametrize("subject", [None, *SUBJECTS.values()], ids=["none", *SUBJECTS])
def test_every_fault_of_the_table_is_one_inside_and_takes_its_options(
    tmp_path: Path, subject: Subject | None
) -> None:
    app = App(tmp_path, subject.agent if subject else None)
    every = (subject.every_control() if subject else CONTROLS).values()
    names = "faults.common()"
    if subject and subject.controls:
        names = "faults.common(), *own.faults()"
    asked = [(name, control.options) for control in every if (name := control.fault_name())]
    assert app.run(
        "from wsgiproof_agent import faults\n"
        f"{'from wsgiproof_agent.subject import faults as own' if 'own' in names else ''}\n"
        f"for name, options in {asked!r}: faults.named(name, options)\n"
        f"result = sorted([*{names}])"
    ) == sorted({name for name, _ in asked})


def test_all_negative_controls_of_a_subject_without_a_backend_do_no_harm(app: App) -> None:
    app.configure(fault="combined", fault_options=CONTROLS[COMBINED].options)
    done = app.start(REQUEST + "print({get()['status'] for _ in range(30)})")
    assert (done.returncode, done.stdout) == (0, "{'200 OK'}\n"), done.stderr


# `fault(name, **options)`, loaded; `serve(n)` makes n requests of it.
PLANT = """
import os, sys, threading, time
from wsgiproof_agent import faults
workload = None
def fault(name, **options):
    planted = faults.named(name, options)
    planted.at_load(workload)
    return planted
def serve(planted, n):
    for _ in range(n): planted.on_request(workload)
def descriptors(): return len(os.listdir("/proc/self/fd"))
def threads():
    before, now = 0, -1
    while before != now:  # a thread that was joined may not be gone yet
        before = now
        time.sleep(0.1)
        now = len(os.listdir("/proc/self/task"))
    return now
def series(measure, planted, requests=(9, 1, 10, 30)):
    start, seen = measure(), []
    for n in requests:
        serve(planted, n)
        seen.append(measure() - start)
    return seen
"""


@pytest.mark.parametrize(
    ("measure", "fault", "grown"),
    [
        ("descriptors", "leak-descriptor", [0, 1, 2, 5]),
        ("descriptors", "reopen-descriptor", [0, 0, 0, 0]),
        ("threads", "leak-thread", [0, 1, 2, 5]),
        ("threads", "join-thread", [0, 0, 0, 0]),
    ],
)
def test_a_leak_is_one_in_ten_requests_exactly_and_its_twin_is_none(
    app: App, measure: str, fault: str, grown: list[int]
) -> None:
    assert app.run(PLANT + f"result = series({measure}, fault({fault!r}, every=10))") == grown


def test_threads_that_wait_for_ever_do_not_keep_the_process(app: App) -> None:
    done = app.start(PLANT + "serve(fault('leak-thread'), 5)")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_burst_is_many_at_once(app: App) -> None:
    code = PLANT + "result = series(descriptors, fault('leak-descriptor', every=10, burst=20))"
    assert app.run(code) == [0, 20, 40, 100]


@pytest.mark.parametrize(("group", "grown"), [("interpreter1", 0), ("interpreter2", 50)])
def test_a_leak_can_be_that_of_one_interpreter(app: App, group: str, grown: int) -> None:
    (app.directory / "mod_wsgi.py").write_text(f"application_group = {group!r}")
    code = PLANT + "result = series(descriptors, fault('leak-descriptor', only='interpreter2'))[-1]"
    assert app.run(code) == grown


# Bytes that glibc's malloc has handed out, and blocks of Python's own allocator.
MEMORY = """
import ctypes
class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks".split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
def in_use():
    told = mallinfo2()
    return told.uordblks + told.hblkhd
"""


@pytest.mark.parametrize(
    ("fault", "least", "most"), [("leak-memory", 64, 90), ("free-memory", 0, 1)]
)
def test_a_leak_of_malloc_is_its_size_a_request(
    app: App, fault: str, least: int, most: int
) -> None:
    code = (
        f"planted = fault({fault!r})\nserve(planted, 2000)\nstart, blocks = in_use(), "
        "sys.getallocatedblocks()\nserve(planted, 20000)\n"
        "result = [(in_use() - start) / 20000, sys.getallocatedblocks() - blocks]"
    )
    per_request, blocks = app.run(PLANT + MEMORY + code)
    assert least <= per_request <= most
    assert blocks < 100, "it leaks Python's memory too"


def test_leaked_malloc_is_resident(app: App) -> None:
    code = (
        "def resident(): return int(open('/proc/self/statm').read().split()[1])\n"
        "planted = fault('leak-memory', size=100000)\nstart = resident()\nserve(planted, 100)\n"
        "result = (resident() - start) * os.sysconf('SC_PAGE_SIZE')"
    )
    assert app.run(PLANT + code) >= 9_000_000


BLOCKS = "def blocks(): return sys.getallocatedblocks()\n"


def test_leaked_objects_are_kept(app: App) -> None:
    code = PLANT + BLOCKS + "result = series(blocks, fault('leak-object'), (1000,) * 4)"
    seen = app.run(code)
    assert seen[-1] >= 4000
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("fault", "options", "low"),
    [("sawtooth-memory", {}, 500), ("fill-cache", {"step": 10, "most": 2000}, 1000)],
)
def test_memory_of_a_twin_is_bounded(
    app: App, fault: str, options: dict[str, int], low: int
) -> None:
    code = BLOCKS + f"result = series(blocks, fault({fault!r}, **{options!r}), (300,) * 20)"
    seen = app.run(PLANT + code)
    assert max(seen[10:]) <= max(seen[:10]) + 100
    assert max(seen) > low


def test_what_is_kept_for_seconds_is_released_after_them_and_at_the_end(app: App) -> None:
    code = """
class Now(object):
    seconds = 0.0
class Hour(object):
    seconds = 3600.0
from wsgiproof_agent import faults_leaks
def opened(when):
    class Fault(when, faults_leaks.CloseDescriptorLater): pass
    planted, released = Fault(), threading.Event()
    real = planted.release
    planted.release = lambda descriptor: (real(descriptor), released.set())
    planted.at_load(None)
    planted.on_request(None)
    return planted, released
soon, released = opened(Now)
late, kept = opened(Hour)
result = [released.wait(60), kept.is_set()]
late._later._stop()
result.append(kept.is_set())
"""
    assert app.run(PLANT + code) == [True, False, True]


def test_a_cache_drops_what_has_expired_when_it_is_used(app: App) -> None:
    code = """
planted = fault("expire-cache", seconds=3600.0)
serve(planted, 50)
result = [len(planted._entries)]
planted._seconds = -1.0
serve(planted, 1)
result.append(len(planted._entries))
"""
    assert app.run(PLANT + code) == [50, 1]


def test_a_crash_in_a_request_is_in_that_one(app: App) -> None:
    app.configure(fault="crash-in-request", fault_options={"at": 3})
    done = app.start(REQUEST + "for _ in range(9): print(get()['report']['request'], flush=True)")
    assert done.stdout.split() == ["1", "2"]
    assert done.returncode == -signal.SIGSEGV
    (file,) = app.evidence.glob("fatal-*")
    assert "in string_at" in file.read_text()


def test_a_crash_when_idle_waits_for_a_pause_after_traffic(app: App) -> None:
    done = app.start(
        PLANT + "planted = fault('crash-when-idle', idle=4.0)\ntime.sleep(5)\n"
        "for _ in range(12): serve(planted, 1)\n"
        "print('busy', flush=True)\ntime.sleep(1000)\nprint('idle', flush=True)"
    )
    assert (done.stdout, done.returncode) == ("busy\n", -signal.SIGSEGV)


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("work-in-request", {"seconds": 3.0, "every": 2}),
        ("slow-request", {"seconds": 3.0, "every": 2}),
    ],
)
def test_a_slow_request_ends(app: App, fault: str, options: dict[str, float]) -> None:
    code = (
        f"planted = fault({fault!r}, **{options!r})\nbegin = time.monotonic()\n"
        "serve(planted, 1)\nmiddle = time.monotonic()\nserve(planted, 1)\n"
        "result = [middle - begin, time.monotonic() - middle]"
    )
    quick, slow = app.run(PLANT + code)
    assert quick < 3.0 <= slow


@pytest.mark.parametrize(
    ("fault", "options", "said"),
    [
        ("hang-in-request", {"at": 2}, "loaded\nfirst\n"),
        ("hang-at-import", {}, ""),
        ("hang-at-exit", {}, "loaded\nfirst\nsecond\n"),
    ],
)
def test_a_hang_never_ends(
    app: App, tmp_path: Path, fault: str, options: dict[str, int], said: str
) -> None:
    app.configure(fault=fault, fault_options=options)
    code = (
        "print('started', flush=True)\n"
        + REQUEST
        + "\nfor text in 'loaded', 'first', 'second': print(text, flush=True); get()"
    )
    output = tmp_path / "output"
    with output.open("w") as file:
        hung = subprocess.Popen([sys.executable, "-c", code], cwd=app.directory, stdout=file)
    try:
        limit = time.monotonic() + 300
        while len(output.read_text()) < len(f"started\n{said}") and time.monotonic() < limit:
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            hung.wait(timeout=1)
        assert output.read_text() == f"started\n{said}"
    finally:
        hung.kill()
        hung.wait()


@pytest.mark.parametrize("fault", ["slow-start", "work-at-exit"])
def test_what_is_slow_to_load_or_to_end_ends(app: App, fault: str) -> None:
    app.configure(fault=fault, fault_options={"seconds": 0.7})
    begin = time.monotonic()
    done = app.start(REQUEST + "print(get()['status'])")
    assert time.monotonic() - begin >= 0.7
    assert (done.returncode, done.stdout, done.stderr) == (0, "200 OK\n", "")


# Two faults of one process, each with files that it opened itself: as two interpreters have.
TWO_INTERPRETERS = """
one, other = fault(name), fault(name)
done = []
def go(planted):
    serve(planted, times)
    done.append(planted)
for planted in (one, other):
    threading.Thread(target=go, args=(planted,), daemon=True).start()
limit = time.monotonic() + longest
while len(done) < 2 and time.monotonic() < limit:
    time.sleep(0.05)
result = len(done)
"""


@pytest.mark.parametrize(
    ("fault", "times", "longest", "done"), [("deadlock", 1000, 1.5, 0), ("ordered-locks", 3, 60, 2)]
)
def test_locks_in_opposite_order_block_and_in_one_order_do_not(
    app: App, fault: str, times: int, longest: float, done: int
) -> None:
    asked = f"name, times, longest = {fault!r}, {times}, {longest}\n"
    assert app.run(PLANT + asked + TWO_INTERPRETERS) == done


def test_one_interpreter_alone_can_not_deadlock(app: App) -> None:
    code = "one = fault('deadlock')\nserve(one, 3)\nresult = 'done'"
    assert app.run(PLANT + code) == "done"


def test_a_traceback_is_logged_and_the_answer_is_right(app: App) -> None:
    app.configure(fault="log-traceback", fault_options={"every": 2})
    done = app.start(REQUEST + "print(json.dumps([get()['status'] for _ in range(4)]))")
    assert json.loads(done.stdout) == ["200 OK"] * 4
    assert done.stderr.count("Traceback (most recent call last)") == 2
    assert done.stderr.count("ValueError: planted by wsgiproof: log-traceback") == 2


def test_harmless_warnings_and_lines_are_written_each_time(app: App) -> None:
    app.configure(fault="log-warnings", fault_options={"every": 2})
    done = app.start(REQUEST + "for _ in range(4): get()")
    assert done.stderr.count("DeprecationWarning: an old way of doing something else") == 2
    assert done.stderr.count("error: 0") == 2


def test_log_lines_are_as_many_as_asked_for(app: App) -> None:
    app.configure(fault="log-lines", fault_options={"every": 2, "burst": 2})
    assert app.start(REQUEST + "for _ in range(4): get()").stderr.count("\n") == 4
