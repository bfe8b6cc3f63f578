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

from wsgiproof.observe.processes import ProcessorWaits, processor_waits
from wsgiproof.observe.starvation import Starvation

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
