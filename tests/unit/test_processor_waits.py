"""How long real processes wait for a processor: one that has to share it, and one that sleeps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from wsgiproof.observe.processor_waits import EndingWatch, ProcessorWaits, processor_waits
from wsgiproof.observe.starvation import Starvation
from wsgiproof.records.observed import Role

BUSY = "while True: pass"
SLEEPING = "import time; print(flush=True); time.sleep(1000)"
THREAD_ENDS = """
import os, threading
def burn():
    while not os.path.exists(%r): pass
thread = threading.Thread(target=burn)
thread.start()
print(flush=True)
thread.join()
while True: pass
"""


@contextmanager
def running(code: str, processor: int) -> Iterator[int]:
    """A process that runs on this processor alone."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {processor}),
    )
    try:
        if "print" in code:
            assert process.stdout is not None
            process.stdout.readline()
            while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
                time.sleep(0.01)  # it has still to begin to sleep
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_two_that_share_a_processor_wait_and_one_that_sleeps_does_not() -> None:
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        sleeping = stack.enter_context(running(SLEEPING, processor))
        busy = [stack.enter_context(running(BUSY, processor)) for _ in range(2)]
        slept = processor_waits(sleeping)
        with ProcessorWaits([sleeping, *busy]) as waits:
            while min(waits.seconds[pid] for pid in busy) < 0.3:
                time.sleep(0.01)
        assert processor_waits(sleeping) == slept
    assert waits.noticeable().keys() == {*busy}


def test_what_a_thread_waited_before_is_not_taken_away_when_it_ends(tmp_path: Path) -> None:
    processor = min(os.sched_getaffinity(0))
    end = tmp_path / "end"
    with ExitStack() as stack:
        pid = stack.enter_context(running(THREAD_ENDS % str(end), processor))
        stack.enter_context(running(BUSY, processor))
        while max(processor_waits(pid).values()) < 1.0:
            time.sleep(0.01)
        with ProcessorWaits([pid]) as waits:
            end.touch()
            main = processor_waits(pid)[str(pid)]
            while waits.seconds[pid] < 0.1:
                assert processor_waits(pid)[str(pid)] < main + 0.9
                time.sleep(0.01)


def test_a_process_that_is_gone_has_waited_for_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert processor_waits(process.pid) == {}
    with ProcessorWaits([process.pid]) as waits:
        pass
    assert waits.noticeable() == {}


def test_the_share_of_the_time_for_which_a_process_has_waited() -> None:
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        sleeping = stack.enter_context(running(SLEEPING, processor))
        busy = [stack.enter_context(running(BUSY, processor)) for _ in range(3)]
        idle, starved = Starvation(lambda: [sleeping]), Starvation(lambda: [sleeping, *busy])
        idle.begin()
        starved.begin()
        while starved.share() < 0.3:  # it comes to two thirds
            time.sleep(0.01)
        assert idle.share() == 0
    assert Starvation(list).share() == 0


def test_a_worker_that_stands_still_at_its_end_is_looked_at_once() -> None:
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        sleeping = stack.enter_context(running(SLEEPING, processor))
        busy = stack.enter_context(running(BUSY, processor))
        with ProcessorWaits([sleeping, busy]) as waits:
            until_still(waits, sleeping)
            watch = EndingWatch(waits, 0.8, lambda _: Role.WORKER)
            assert not watch.is_due(0.7, [sleeping, busy])
            assert not watch.is_due(0.9, [busy])
            assert watch.is_due(0.9, [sleeping, busy])
            assert not watch.is_due(5.0, [sleeping, busy])


def test_a_worker_that_is_busy_at_its_end_is_looked_at_before_apache_kills_it() -> None:
    with running(BUSY, min(os.sched_getaffinity(0))) as busy, ProcessorWaits([busy]) as waits:
        watch = EndingWatch(waits, 0.8, lambda _: Role.WORKER)
        assert not watch.is_due(1.5, [busy])
        assert watch.is_due(1.7, [busy])


def test_what_waits_for_a_busy_worker_is_no_reason_to_look() -> None:
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        parent = stack.enter_context(running(SLEEPING, processor))
        busy = stack.enter_context(running(BUSY, processor))
        roles = {parent: Role.PARENT, busy: Role.WORKER}
        with ProcessorWaits([*roles]) as waits:
            until_still(waits, parent)
            watch = EndingWatch(waits, 0.8, roles.__getitem__)
            assert not watch.is_due(0.9, [*roles])
            assert watch.is_due(0.9, [parent])


def until_still(waits: ProcessorWaits, pid: int) -> None:
    while waits.still(pid) < 0.5:
        time.sleep(0.01)
