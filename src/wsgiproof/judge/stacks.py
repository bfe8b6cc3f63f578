"""Reads stacks: where a process crashed, and what its threads wait for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from wsgiproof.judge.finding import count, some
from wsgiproof.records.observed import SIGNAL_HANDLER, Frame, Observed, Stack, Thread, Unfinished
from wsgiproof.records.plan import ENDING

_RAISES = {"raise", "__GI_raise", "gsignal", "__pthread_kill_implementation", "kill", "__GI_kill"}
_HANDLERS = {"faulthandler_fatal_error", "sig_coredump"} | _RAISES
"""The handlers of a fatal signal: faulthandler, which finally raises the signal again, and that of
Apache, which sends the signal to the process."""
_DUMPS = {"_Py_DumpTraceback", "_Py_DumpTracebackThreads"}
"""What faulthandler calls to write the stacks. It may crash, too, where a thread state is gone."""
_CALLED = ("faulthandler_fatal_error", "sig_coredump")
"""The handlers themselves, which the kernel calls."""
_RETURNS = ("__restore_rt",)
"""What the kernel puts below a handler: it returns from the signal."""
_MOST_OF_HANDLER = 8
"""Frames within which a handler that has sent its signal again is."""
_LIBC = ("libc.so", "libc-", "libpthread", "ld-linux")
_LIBC_SOURCES = ("../sysdeps/", "./nptl/", "../nptl/", "./malloc/", "./stdlib/", "./signal/")
_STANDARD = re.compile(r"/lib(64)?/python[\d.]+t?/(?!site-packages|dist-packages)")
_SAME = 3
"""Crashes with this many innermost functions in common are the same."""
_EVALUATES = "_PyEval_EvalFrameDefault"
"""CPython's function that runs Python code."""
_MOST_SHOWN = 30
_MOST_GROUPS = 4


def of_crash(observed: Observed, pid: int) -> Stack | None:
    """Return the stack of a process that crashed; None if it was not read."""
    return next((one for one in observed.stacks if one.why == "crash" and one.pid == pid), None)


def crashed(stack: Stack) -> tuple[Thread, tuple[Frame, ...]] | None:
    """Return the thread that crashed and its frames, without those of the signal's handlers.

    A handler may send the signal to the whole process, so that another thread receives it. The
    thread that was in a handler of a fatal signal is the one that crashed.
    """
    handled = {thread.tid: (thread, _handled(thread)) for thread in stack.threads}
    in_handler = [(thread, frames) for thread, frames in handled.values() if frames is not None]
    thread, frames = handled.get(stack.thread, (None, None))
    if thread is not None and frames is None and not in_handler:
        frames = _without_handler(thread.frames)
        return (thread, frames) if frames else None
    if thread is not None and frames is not None:
        return thread, frames
    return in_handler[0] if in_handler else None


def _handled(thread: Thread) -> tuple[Frame, ...] | None:
    """Return the frames below the handlers of fatal signals; None if the thread is in none.

    faulthandler raises the signal again, so that Apache's handler is called within it.
    """
    frames = thread.frames
    below = None
    for number, frame in enumerate(frames):
        if frame.function != SIGNAL_HANDLER or not number:
            continue
        called = _plain(frames[number - 1].function)
        # A handler has no name if its symbols are stripped; what it calls shows which it is.
        calls = _plain(frames[number - 2].function) if not called and number > 1 else ""
        if called in _HANDLERS or calls in _RAISES | _DUMPS:
            below = frames[number + 1 :]
    return below


def _plain(function: str) -> str:
    """Return the name of a function without what a compiler adds: ``f.constprop.0``."""
    return function if function == SIGNAL_HANDLER else function.partition(".")[0]


def _without_handler(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return the frames below those of a handler, where the arrival of the signal is not marked.

    pystack does not mark it. The C library's ``raise`` and ``abort`` are kept where no handler
    called them: there the process ended itself.
    """
    innermost = [_plain(frame.function) for frame in frames[:_MOST_OF_HANDLER]]
    last = max((innermost.index(name) for name in _CALLED if name in innermost), default=-1)
    below = frames[last + 1 :]
    while last >= 0 and below and below[0].function in _RETURNS:
        below = below[1:]
    return below or frames


def without_state(stack: Stack, thread: Thread, frames: Sequence[Frame]) -> str:
    """Return that the thread that crashed, as :func:`crashed` has it, ran Python code for a request
    without a thread state of its own; empty if it did not, or if that is not known.

    It used the thread state of another thread. Thread states were read if some thread has the GIL.
    """
    has_gil = [str(one.tid) for one in _with_gil(stack)]
    runs_python = any(_plain(frame.function) == _EVALUATES for frame in frames)
    in_request = _serves(thread) and stack.phase not in ENDING
    if thread.interpreter or not (has_gil and runs_python and in_request):
        return ""
    return (
        f"thread {thread.tid} ran Python code without a thread state of its own, while thread "
        f"{some(has_gil)} had the GIL"
    )


def crash_site(stack: Stack | None, *, at_end: bool = False) -> tuple[str, ...]:
    """Return what crashes for the same reason have in common: the innermost functions with a name,
    without those of the C library.

    At the end of a process (``at_end``) it is the innermost one alone, and whether the thread is
    the main one: a thread may have called anything when its interpreter was taken from it.
    """
    site = crashed(stack) if stack else None
    if stack is None or site is None:
        return ()
    thread, frames = site
    functions = [_plain(frame.function) for frame in _named(frames)]
    if not at_end:
        return tuple(functions[:_SAME])
    return (*functions[:1], "main thread" if thread.tid == stack.pid else "another thread")


def _named(frames: Sequence[Frame]) -> list[Frame]:
    named = [frame for frame in frames if frame.function]
    return [frame for frame in named if not _of_libc(frame)] or named


def _of_libc(frame: Frame) -> bool:
    return frame.language == "c" and (
        frame.library.startswith(_LIBC) or frame.file.startswith(_LIBC_SOURCES)
    )


def is_standard(file: str) -> bool:
    """Return whether the file of a Python frame is in the standard library."""
    return bool(_STANDARD.search(file)) or file.startswith("<frozen ")


def where(frames: Sequence[Frame]) -> str:
    """Return the innermost call, the first one outside the C library, and the first Python call
    outside the standard library."""
    named = [frame for frame in frames if frame.function]
    if not named:
        return "in functions without a name"
    chosen = [named[0], _named(frames)[0]]
    python = [frame for frame in named if frame.language == "python"]
    chosen += ([frame for frame in python if not is_standard(frame.file)] or python)[:1]
    return "in " + ", called from ".join(dict.fromkeys(map(_short, chosen)))


def _short(frame: Frame) -> str:
    """Return ``act (faults.py:27)``, or ``take_gil (libpython3.12.so.1.0)``."""
    name = PurePath(frame.file).name
    if frame.language == "python":
        return f"{frame.function} ({name}:{frame.line})"
    place = frame.library or name
    return f"{frame.function} ({place})" if place else frame.function


def thread_text(pid: int, thread: Thread, frames: Sequence[Frame] | None = None) -> str:
    """Return a thread and its frames as text, the most recent call first."""
    shown = thread.frames if frames is None else frames
    lines = [f"pid {pid}, thread {thread.tid}{_state(thread)}, most recent call first:"]
    lines += [f"  {_full(frame)}" for frame in shown[:_MOST_SHOWN]]
    if len(shown) > _MOST_SHOWN:
        lines.append(f"  ... and {len(shown) - _MOST_SHOWN} more")
    return "\n".join(lines)


def _state(thread: Thread) -> str:
    where = {"": "", "main": ", in the main interpreter"}.get(
        thread.interpreter, f", in interpreter {thread.interpreter}"
    )
    gil = {"holds": ", has the GIL", "waits": ", waits for the GIL", "": ""}[thread.gil]
    return where + gil


def _full(frame: Frame) -> str:
    """Return a frame as text: Python as in a traceback, C as in a debugger."""
    place = f"{frame.file}:{frame.line}" if frame.file else ""
    if frame.language == "python":
        return f"{frame.function}  {place}  (Python)"
    return "  ".join(part for part in (frame.function or "??", place, frame.library) if part)


def gil_lines(stacks: Sequence[Stack]) -> list[str]:
    """Return a line for each process: the thread that holds the GIL, and how many wait for it."""
    lines = []
    for stack in stacks:
        holders = _with_gil(stack)
        waiting = [thread for thread in stack.threads if thread.gil == "waits"]
        holder = some([f"thread {one.tid} {where(one.frames)}" for one in holders]) or "no thread"
        if holders or waiting:
            lines.append(
                f"pid {stack.pid}: the GIL is held by {holder}; "
                f"{count(len(waiting), 'thread')} waiting for it"
            )
        elif stack.threads:
            lines.append(f"pid {stack.pid}: no thread holds the GIL, and none waits for it")
    return lines


def _with_gil(stack: Stack) -> list[Thread]:
    return [thread for thread in stack.threads if thread.gil == "holds"]


def blocked_threads(stack: Stack, unfinished: Sequence[Unfinished]) -> list[Thread]:
    """Return the threads that hang: those with a request; else the main thread; else all in Python.

    Before Python 3.8 requests do not name their thread. The main thread is then taken if it runs
    Python, as it does at the start and at the end of a process. A thread of the application's own
    has nothing to do with a request that hangs. Under load it is left out if mod_wsgi's frames have
    names, since it has none of them; a thread that imports the script has.
    """
    threads = [thread for thread in stack.threads if thread.frames]
    busy = {one.tid for one in unfinished if one.pid == stack.pid}
    python = [one for one in threads if any(frame.language == "python" for frame in one.frames)]
    if stack.phase not in ENDING and any(_in_mod_wsgi(one) for one in threads):
        return [one for one in threads if one.tid in busy] or [
            one for one in python if _in_mod_wsgi(one)
        ]
    return (
        [thread for thread in threads if thread.tid in busy]
        or [thread for thread in python if thread.tid == stack.pid]
        or [thread for thread in python if _serves(thread)]
        or [thread for thread in threads if thread.tid == stack.pid]
        or python
    )


def _in_mod_wsgi(thread: Thread) -> bool:
    return any(frame.function.startswith("wsgi_") for frame in thread.frames)


def _serves(thread: Thread) -> bool:
    return any(frame.function == "wsgi_execute_script" for frame in thread.frames)


def blocked(stacks: Sequence[Stack], unfinished: Sequence[Unfinished]) -> str:
    """Return where threads wait, with how many in each place; empty if it is unknown."""
    threads = [thread for stack in stacks for thread in blocked_threads(stack, unfinished)]
    places = Counter(where(thread.frames) for thread in threads)
    parts = [f"{count(number, 'thread')} {place}" for place, number in places.most_common()]
    return some(parts, _MOST_GROUPS)


def examples(stacks: Sequence[Stack], unfinished: Sequence[Unfinished]) -> list[str]:
    """Return one stack for each place in which threads wait."""
    found: dict[str, str] = {}
    for stack in stacks:
        for thread in blocked_threads(stack, unfinished):
            found.setdefault(where(thread.frames), thread_text(stack.pid, thread))
    return list(found.values())[:_MOST_GROUPS]


def notes(stacks: Sequence[Stack]) -> list[str]:
    """Return why stacks are missing, and how to get them."""
    return list(dict.fromkeys(stack.note for stack in stacks if stack.note))
