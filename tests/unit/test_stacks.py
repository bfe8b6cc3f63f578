"""Stacks as pystack and gdb told them of real processes, and what is made of them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import BORN, ENDED, RULES, WORKER, born, died, failure, observed
from wsgiproof.judge import stacks
from wsgiproof.judge.verdict import judge
from wsgiproof.observe import cores
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.frames import combined, parse_gdb, parse_pystack
from wsgiproof.observe.stacks import (
    _is_stopped,
    _StopWatch,
    read_core,
    read_ending,
    read_process,
    why_no_stack,
)
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import (
    SIGNAL_HANDLER,
    Frame,
    Observed,
    Role,
    Stack,
    Stop,
    Thread,
    Unfinished,
)
from wsgiproof.run import preflight

RECORDED = Path(__file__).with_name("stacks")


def recorded(name: str) -> tuple[Thread, ...]:
    """A text of ours: the thread that matters and some others of a real process."""
    parse = parse_gdb if name.startswith("gdb") else parse_pystack
    return parse((RECORDED / f"{name}.txt").read_text())


def stack(name: str = "", **changes: object) -> Stack:
    threads = recorded(name) if name else ()
    one = Stack(pid=WORKER, role=Role.WORKER, phase="parallel", why="crash", threads=threads)
    return msgspec.structs.replace(one, **changes)


def of(threads: tuple[Thread, ...], tid: int) -> Thread:
    (one,) = (thread for thread in threads if thread.tid == tid)
    return one


# What the tools print


def test_pystack_tells_interpreters_the_gil_python_and_c() -> None:
    thread = of(recorded("pystack-core-request"), 26411)
    assert thread.interpreter == "1"
    assert thread.gil == "holds"
    act = next(frame for frame in thread.frames if frame.function == "act")
    assert act == Frame(
        function="act",
        language="python",
        file="/tmp/wsgiproof-run/app/wsgiproof_agent/faults_lifecycle.py",
        line=27,
    )
    run = next(frame for frame in thread.frames if frame.function == "Adapter_run")
    assert (run.language, run.file, run.line) == ("c", "src/server/mod_wsgi.c", 3182)
    assert run.library == "mod_wsgi-py311.cpython-311-x86_64-linux-gnu.so"
    assert thread.frames[-1].function == "__clone3", "the most recent call is not first"


def test_a_thread_without_frames_is_still_told() -> None:
    assert of(recorded("pystack-core-request"), 26418).frames == ()


def test_a_process_with_one_interpreter_is_read_too() -> None:
    text = (
        "Traceback for thread 7 (python) [Has the GIL] (most recent call last):\n"
        '    (C) File "???", line 0, in main (/usr/bin/python2.7)\n'
        '    (Python) File "a (b).py", line 4, in <module>\n'
        "        f()\n"
    )
    (thread,) = parse_pystack(text)
    assert (thread.interpreter, thread.gil) == ("main", "holds")
    assert thread.frames == (
        Frame(function="<module>", language="python", file="a (b).py", line=4),
        Frame(function="main", language="c", library="python2.7"),
    )


def test_gdb_tells_c_and_signals() -> None:
    frames = of(recorded("gdb-core-monitor"), 28392).frames
    assert frames[0].function == "dump_frame"
    assert (frames[0].file, frames[0].line) == ("Python/traceback.c", 1245)
    assert SIGNAL_HANDLER in [frame.function for frame in frames]
    assert [frame.function for frame in frames if "take_gil" in frame.function] == ["take_gil"]


@pytest.mark.parametrize("text", ["", "no such process", "Traceback", "Thread 1", "#0 x () at"])
def test_what_is_no_stack_is_none(text: str) -> None:
    assert parse_pystack(text) == ()
    assert parse_gdb(text) == ()


def test_python_of_the_one_and_c_of_the_other_are_one_stack() -> None:
    c = [
        Frame(function=name, language="c")
        for name in ("poll", "time_sleep", "_PyEval_EvalFrameDefault", "call", "PyEval_EvalCode")
    ]
    python = [Frame(function=name, language="python") for name in ("inner", "outer")]
    outside = [Frame(function="main", language="c")]
    both = combined(python, [*c, *outside])
    names = [frame.function for frame in both]
    assert names == ["poll", "time_sleep", "inner", "outer", "main"]
    assert combined((), c) == tuple(c)
    assert combined(python, outside) == (*python, *outside)


# What they mean


@pytest.mark.parametrize("name", ["pystack-core-monitor", "gdb-core-monitor"])
def test_the_thread_that_crashed_is_found_among_those_in_signal_handlers(name: str) -> None:
    """Apache's child ends in its handler of SIGTERM; another thread got the SIGSEGV, and
    faulthandler crashed as it looked at it."""
    for dumped in (28392, 28391, 0):
        site = stacks.crashed(stack(name, thread=dumped))
        assert site is not None
        thread, frames = site
        assert thread.tid == 28392
        assert "faulthandler_fatal_error" not in [frame.function for frame in frames]
        assert stacks.crash_site(stack(name, thread=dumped))
    assert "take_gil" in stacks.thread_text(1, thread, frames)


def test_a_crash_of_faulthandler_itself_happened_where_the_signal_arrived() -> None:
    """Debian's libpython has no name for faulthandler's handler."""
    names = ("", "_Py_DumpTraceback", "", SIGNAL_HANDLER, "_PyEval_EvalFrameDefault", "run")
    one = Thread(tid=7, frames=frames(*names))
    site = stacks.crashed(stack(threads=(one,), thread=7))
    assert site is not None
    assert [frame.function for frame in site[1]] == ["_PyEval_EvalFrameDefault", "run"]


def test_a_handler_within_a_handler_is_not_where_it_crashed() -> None:
    """faulthandler raises the signal again, and Apache's handler sends it to the process."""
    names = ("__GI_kill", SIGNAL_HANDLER, "__GI_raise", SIGNAL_HANDLER, "__strlen_avx2", "call")
    frames = tuple(Frame(function=name, language="c") for name in names)
    thread = Thread(tid=7, frames=frames)
    site = stacks.crashed(stack(thread=7, threads=(thread,)))
    assert site is not None
    assert [frame.function for frame in site[1]] == ["__strlen_avx2", "call"]


@pytest.mark.parametrize(
    ("interpreter", "gil", "calls", "phase", "told"),
    [
        ("", "holds", ("wsgi_execute_script",), "warm-up", True),
        ("2", "holds", ("wsgi_execute_script",), "warm-up", False),
        ("", "", ("wsgi_execute_script",), "warm-up", False),
        ("", "holds", ("start_thread",), "warm-up", False),
        ("", "holds", ("wsgi_execute_script",), "stop", False),
    ],
)
def test_a_request_that_ran_python_with_the_thread_state_of_another_is_told(
    interpreter: str, gil: Literal["holds", ""], calls: tuple[str, ...], phase: str, told: bool
) -> None:
    """Without the thread that has the GIL, the thread states could not be read."""
    names = ("__GI_raise", SIGNAL_HANDLER, "_PyEval_EvalFrameDefault", "Adapter_run", *calls)
    crashed = Thread(tid=7, interpreter=interpreter, frames=frames(*names))
    other = Thread(tid=8, interpreter="2", gil=gil, frames=frames("PyThread_acquire_lock_timed"))
    read = stack(pid=WORKER, phase=phase, thread=7, threads=(other, crashed))
    text = "thread 7 ran Python code without a thread state of its own, while thread 8 had the GIL"
    site = stacks.crashed(read)
    assert site is not None
    assert stacks.without_state(read, *site) == (text if told else "")
    (finding, *_) = crash_findings(crashes(read))
    entries = [one.id for one in judge(CELL, crashes(read), RULES).findings[0].explained]
    assert any(line.endswith(f"\n{text}") for line in finding.evidence) is told
    assert ("first-use-race" in entries) is told


TRACE = """pid {}: Fatal Python error: Segmentation fault

Current thread 0x00007f0d9cff96c0 (most recent call first):
  File "/app/a.py", line 1 in work
"""


@pytest.mark.parametrize(("pid", "left"), [(WORKER, False), (WORKER + 1, True)])
def test_what_a_core_file_explains_needs_no_other_stack_of_the_process(
    pid: int, left: bool
) -> None:
    """A trace that only says that it died would make the reason look like one of two."""
    names = ("__GI_raise", SIGNAL_HANDLER, "_PyEval_EvalFrameDefault", "wsgi_execute_script")
    crashed = Thread(tid=7, frames=frames(*names))
    other = Thread(tid=8, interpreter="2", gil="holds", frames=frames("lock"))
    read = stack(pid=WORKER, phase="warm-up", thread=7, threads=(other, crashed))
    seen = crashes(read)
    died_too = died(pid, phase="parallel", signal=signal.SIGSEGV)
    events = seen.events if pid == WORKER else (*seen.events, born(pid, Role.WORKER), died_too)
    seen = msgspec.structs.replace(seen, fatal_traces=(TRACE.format(pid),), events=events)
    told = judge(CELL, seen, RULES).findings
    entries = {one.id for finding in told if finding.check == "crash" for one in finding.explained}
    assert "first-use-race" in entries
    assert ("killed-by-signal" in entries) is left


def test_where_a_request_crashed_is_told_in_c_and_in_python() -> None:
    site = stacks.crashed(stack("pystack-core-request", thread=26411))
    assert site is not None
    told = stacks.where(site[1])
    assert told.startswith("in __strlen_evex (libc.so.6), called from string_at (_ctypes")
    assert told.endswith("called from act (faults_lifecycle.py:27)")


def frames(*names: str) -> tuple[Frame, ...]:
    return tuple(Frame(function=name, language="c") for name in names)


@pytest.mark.parametrize(
    "handler",
    [
        ("raise", "faulthandler_fatal_error", "__restore_rt"),
        ("dump_traceback", "faulthandler_fatal_error.constprop.0"),
        ("__GI_kill", "sig_coredump", "faulthandler_fatal_error", "__restore_rt"),
        ("raise", "faulthandler_fatal_error", SIGNAL_HANDLER),
    ],
)
def test_a_stack_does_not_begin_with_the_handler_that_dumped_it(handler: tuple[str, ...]) -> None:
    """pystack does not mark where the signal came in."""
    one = Thread(tid=7, frames=frames(*handler, "strlen", "act"))
    site = stacks.crashed(stack(threads=(one,), thread=7))
    assert site is not None
    assert [frame.function for frame in site[1]] == ["strlen", "act"]


def test_a_process_that_aborts_itself_keeps_its_frames() -> None:
    one = Thread(tid=7, frames=frames("raise", "abort", "malloc_printerr", "free"))
    site = stacks.crashed(stack(threads=(one,), thread=7))
    assert site is not None
    assert len(site[1]) == 4


def crashes(*read: Stack) -> Observed:
    pids = [one.pid for one in read]
    return observed(
        events=(
            *BORN,
            *[born(pid, Role.WORKER) for pid in pids if pid != WORKER],
            *[died(pid, phase="parallel", signal=signal.SIGSEGV) for pid in pids],
            *ENDED[1:],
        ),
        stacks=read,
        unfinished=(Unfinished(pid=WORKER, tid=26411, url="/interpreter1", started=1.0),),
        libraries=("/env/lib/python3.12/site-packages/bson/_cbson.so",),
    )


def crash_findings(seen: Observed) -> list[Finding]:
    return [one for one in judge(CELL, seen, RULES).findings if one.check == "crash"]


def test_deaths_with_the_same_stack_are_one_finding_and_others_another() -> None:
    first = stack("pystack-core-request", thread=26411)
    again = stack("pystack-core-request", thread=26411, pid=201, phase="serial")
    other = stack("pystack-core-monitor", thread=28392, pid=202)
    found = crash_findings(crashes(first, again, other))
    assert len(found) == 2
    assert found[0].seen.startswith("2 of 3 worker processes died of SIGSEGV")
    assert "string_at" in found[0].seen
    assert "take_gil" in found[1].seen


def test_a_crash_comes_with_its_stack_its_request_and_what_was_loaded() -> None:
    (found,) = crash_findings(crashes(stack("pystack-core-request", thread=26411)))
    text = "\n".join(found.evidence)
    assert "act  /tmp/wsgiproof-run/app/wsgiproof_agent/faults_lifecycle.py:27  (Python)" in text
    assert "thread 26411 was serving /interpreter1" in text
    assert "loaded: _cbson.so" in text


def test_a_crash_without_a_stack_says_how_to_get_one() -> None:
    (found,) = crash_findings(crashes(stack(note="the kernel gives core files to /bin/false")))
    assert "no stack: the kernel gives core files to /bin/false" in found.evidence


def hung(name: str, phase: str, **changes: object) -> Observed:
    late = failure(kind="timeout", status=None, error="no answer", body="", phase=phase, count=2)
    return observed(
        stacks=(stack(name, why="hang", phase=phase, **changes),),
        unfinished=tuple(
            Unfinished(pid=WORKER, tid=tid, url=f"/interpreter{1 + tid % 2}", started=1.0)
            for tid in (27277, 27286, 27288, 27291)
        ),
        **({"failures": (late,)} if phase != "stop" else {}),
    )


def test_a_hang_names_the_frames_that_threads_wait_in_and_who_has_the_gil() -> None:
    (found,) = [
        one
        for one in judge(CELL, hung("pystack-process-deadlock", "parallel"), RULES).findings
        if one.check == "hang"
    ]
    assert "flock (libc.so.6), called from fcntl_flock_impl" in found.seen
    assert "act (faults_lifecycle.py:" in found.seen
    text = "\n".join(found.evidence)
    assert "no thread holds the GIL" in text
    assert "was serving 4 requests" in text


def test_a_thread_that_serves_no_request_is_not_what_a_request_hangs_in() -> None:
    """The request ended late, before the stack was read, so no thread has it any more."""
    python = Frame(function="poll", language="python", file="shop.py", line=3)

    def read(phase: str, *functions: str) -> Stack:
        frames = tuple(Frame(function=one, language="c") for one in functions)
        waiting = Thread(tid=WORKER + 1, frames=(python, *frames))
        main = Thread(tid=WORKER, frames=(Frame(function="wsgi_daemon_main", language="c"),))
        return Stack(pid=WORKER, role=Role.WORKER, phase=phase, why="hang", threads=(main, waiting))

    assert stacks.blocked([read("serial", "pthread_cond_wait")], ()) == ""
    assert stacks.blocked([read("serial", "wsgi_execute_script")], ()).startswith("1 thread in ")
    assert stacks.blocked([read("warm-up", "wsgi_load_source")], ()).startswith("1 thread in ")
    assert stacks.blocked([read("stop", "pthread_cond_wait")], ()).startswith("1 thread in ")


def test_a_hang_without_a_stack_says_how_to_get_one() -> None:
    (found,) = [
        one
        for one in judge(
            CELL, hung("", "parallel", note="not permitted; run as root"), RULES
        ).findings
        if one.check == "hang"
    ]
    assert "not permitted; run as root" in found.action


def test_a_stop_that_hangs_names_its_frame() -> None:
    seen = msgspec.structs.replace(
        hung("pystack-process-exit", "stop"),
        stop=Stop(seconds=15.0, leftover=(WORKER,), connections_left=0),
        unfinished=(),
    )
    seen = msgspec.structs.replace(
        seen, stacks=tuple(msgspec.structs.replace(one, pid=27140) for one in seen.stacks)
    )
    assert "blocked" not in next(
        one.seen for one in judge(CELL, seen, RULES).findings if one.check == "shutdown"
    ), "the stack of another process was taken for its own"
    stop = Stop(seconds=15.0, leftover=(27140,), connections_left=0)
    seen = msgspec.structs.replace(seen, stop=stop)
    (found,) = [one for one in judge(CELL, seen, RULES).findings if one.check == "shutdown"]
    assert "blocked: 1 thread in clock_nanosleep" in found.seen
    assert "_hang (faults_lifecycle.py:112)" in found.seen


# The tools themselves, on processes of ours

CRASH = """
import ctypes, resource, threading
resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)
def crash_here():
    ctypes.string_at(0)
thread = threading.Thread(target=crash_here)
thread.start()
thread.join()
"""
WORK = """
def work_here():
    print("ready", flush=True)
    while True:
        pass
work_here()
"""
WAIT = """
import time
def wait_here():
    print("ready", flush=True)
    time.sleep(60)
wait_here()
"""


@pytest.mark.skipif(bool(cores.why_no_core()), reason=cores.why_no_core() or "-")
def test_the_stack_of_a_thread_that_crashed_is_read_from_its_core(tmp_path: Path) -> None:
    directory = tmp_path / "evidence" / "core-7"
    directory.mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", CRASH], cwd=directory, check=False)
    assert done.returncode == -signal.SIGSEGV
    core = cores.take_core(Evidence(tmp_path / "evidence"), 7)
    assert core is not None
    assert not list(directory.iterdir())
    crashed = cores.crashed_thread(core)
    seen = read_core(core, sys.executable, crashed)
    site = stacks.crashed(stack(thread=crashed, threads=seen.threads))
    assert site is not None, seen
    assert "crash_here" in [frame.function for frame in site[1]]


def test_the_stack_of_a_living_process_is_read_or_it_is_said_why_not() -> None:
    with subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = read_process(process.pid)
        assert process.poll() is None, "it was ended by being looked at"
        process.kill()
    if seen.threads:
        assert "wait_here" in [frame.function for frame in seen.threads[0].frames]
    else:
        assert "permitted" in seen.note


def test_a_process_that_is_at_work_is_read_without_stopping_it() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = read_ending(process.pid)
        process.kill()
    assert seen.note, "it was read as if it waited"
    assert not [one for thread in seen.threads for one in thread.frames if one.language == "c"]


def test_a_process_that_is_gone_is_a_note_and_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    seen = read_process(process.pid)
    assert seen.threads == ()
    assert seen.note


def test_a_core_that_is_budget_exhausted_is_a_note_and_no_error(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(b"\x7fELF" + os.urandom(200))
    assert cores.crashed_thread(core) == 0
    seen = read_core(core, sys.executable, 0)
    assert seen.threads == ()
    assert seen.note


@pytest.mark.parametrize(
    ("scope", "user", "readable"),
    [
        *(("0", 1000, True), ("1", 1000, False), ("2", 1000, False), ("3", 1000, False)),
        *(("1", 0, True), ("2", 0, True), ("3", 0, False), (None, 1000, True)),
    ],
)
def test_whose_stacks_the_kernel_lets_be_read(
    scope: str | None,
    user: int,
    readable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "ptrace_scope"
    if scope is not None:
        file.write_text(f"{scope}\n")
    monkeypatch.setattr("wsgiproof.observe.stacks.PTRACE_SCOPE", file)
    monkeypatch.setattr("wsgiproof.observe.stacks._may_trace", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    why = why_no_stack()
    assert bool(why) != readable
    assert readable or f"kernel.yama.ptrace_scope is {scope}" in why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose")
@pytest.mark.parametrize(("bounding", "told"), [("-sys_ptrace", "--cap-add"), ("-sys_time", "")])
def test_root_in_a_container_may_lack_the_capability(bounding: str, told: str) -> None:
    code = "from wsgiproof.observe.stacks import why_no_stack; print(why_no_stack())"
    command = ["setpriv", "--bounding-set", bounding, sys.executable, "-c", code]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told in said
    assert bool(said.strip()) == bool(told)


@pytest.mark.parametrize(
    ("hanging", "crashing", "told"),
    [
        ("", "", "of a process that hangs and of one that crashes, by gdb"),
        ("no", "", "of one that crashes, by gdb; none of a process that hangs: no"),
        ("", "no", "of a process that hangs, by gdb; none of one that crashes: no"),
        ("no", "nor", "none of a process that hangs: no; none of one that crashes: nor"),
    ],
)
def test_the_doctor_says_which_stacks_can_be_read(
    hanging: str, crashing: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, answer in (
        *(("why_no_stack", hanging), ("why_no_core", crashing)),
        *(("has_pystack", False), ("_has_gdb", True)),
    ):
        monkeypatch.setattr(preflight, name, lambda answer=answer: answer)
    assert preflight._describe_stacks() == told


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("core", ""),
        ("core.%p", ""),
        ("|/usr/share/apport/apport -p%p", "/usr/share/apport/apport"),
        ("/var/crash/core.%p", "/var/crash/core.%p"),
    ],
)
def test_why_there_is_no_core_names_where_they_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, told: str
) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("core files are forbidden here")
    path = tmp_path / "core_pattern"
    path.write_text(pattern + "\n")
    monkeypatch.setattr(cores, "CORE_PATTERN", path)
    why = cores.why_no_core()
    assert told in why
    assert bool(why) == bool(told)


# For how long a process is stopped


def test_the_time_that_a_process_is_stopped_is_measured() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        with _StopWatch(process.pid) as watch:
            process.send_signal(signal.SIGSTOP)
            while not _is_stopped(process.pid):
                time.sleep(0.01)
            time.sleep(0.3)
            process.send_signal(signal.SIGCONT)
        process.kill()
    assert watch.seconds >= 0.3


def test_a_process_that_runs_is_not_stopped_however_long_the_tools_take() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        with _StopWatch(process.pid) as watch:
            time.sleep(0.2)
        process.kill()
    assert watch.seconds == 0
    assert not _is_stopped(process.pid), "it is gone"
