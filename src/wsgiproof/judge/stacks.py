"""What stacks tell: where a process crashed, and what its threads wait for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from wsgiproof.judge.finding import count, some
from wsgiproof.records import Frame, Observed, Stack, Thread, Unfinished

_SIGNAL_HANDLER = "<signal handler>"
_RAISES = {"raise", "__GI_raise", "gsignal", "__pthread_kill_implementation", "kill", "__GI_kill"}
_HANDLERS = {"faulthandler_fatal_error", "sig_coredump"} | _RAISES
"""What is called as a fatal signal comes: faulthandler, which raises it again in its last call, and
Apache's own, which sends it to the process."""
_LIBC = ("libc.so", "libc-", "libpthread", "ld-linux")
_LIBC_SOURCES = ("../sysdeps/", "./nptl/", "../nptl/", "./malloc/", "./stdlib/", "./signal/")
_STANDARD = re.compile(r"/lib(64)?/python[\d.]+t?/(?!site-packages|dist-packages)")
_SAME = 3
"""Deaths with these many functions in common, from the crash outwards, are the same."""
_MOST_SHOWN = 30
_MOST_GROUPS = 4


def of_crash(observed: Observed, pid: int) -> Stack | None:
    """What was read of a process that crashed."""
    return next((one for one in observed.stacks if one.why == "crash" and one.pid == pid), None)


def crashed(stack: Stack) -> tuple[Thread, tuple[Frame, ...]] | None:
    """The thread that crashed and its frames, without those of the handlers of the signal.

    A handler may send the signal to the whole process, so that another thread takes it in the end:
    the one that was in a handler of a fatal signal is the one.
    """
    handled = {thread.tid: (thread, _handled(thread)) for thread in stack.threads}
    in_handler = [(thread, frames) for thread, frames in handled.values() if frames is not None]
    thread, frames = handled.get(stack.thread, (None, None))
    if thread is not None and frames is None and not in_handler:
        return (thread, thread.frames) if thread.frames else None
    if thread is not None and frames is not None:
        return thread, frames
    return in_handler[0] if in_handler else None


def _handled(thread: Thread) -> tuple[Frame, ...] | None:
    """The frames below the handler of a fatal signal; None if the thread is in none."""
    frames = thread.frames
    for number, frame in enumerate(frames):
        if frame.function != _SIGNAL_HANDLER or not number:
            continue
        called = frames[number - 1].function
        # Apache's handler has no name where its symbols are stripped.
        sends = not called and number > 1 and frames[number - 2].function in _RAISES
        if called in _HANDLERS or sends:
            return frames[number + 1 :]
    return None


def same(stack: Stack | None) -> tuple[str, ...]:
    """What deaths for the same reason have in common: the innermost functions that have a name,
    but for those of the C library."""
    site = crashed(stack) if stack else None
    if site is None:
        return ()
    return tuple(frame.function for frame in _named(site[1])[:_SAME])


def _named(frames: Sequence[Frame]) -> list[Frame]:
    named = [frame for frame in frames if frame.function]
    return [frame for frame in named if not _of_libc(frame)] or named


def _of_libc(frame: Frame) -> bool:
    return frame.language == "c" and (
        frame.library.startswith(_LIBC) or frame.file.startswith(_LIBC_SOURCES)
    )


def _is_standard(frame: Frame) -> bool:
    """Whether a Python frame is of the standard library."""
    return bool(_STANDARD.search(frame.file)) or frame.file.startswith("<frozen ")


def where(frames: Sequence[Frame]) -> str:
    """The innermost call, the first outside of the C library, and the first of Python outside of
    its standard library."""
    named = [frame for frame in frames if frame.function]
    if not named:
        return "in code without a name"
    chosen = [named[0], _named(frames)[0]]
    python = [frame for frame in named if frame.language == "python"]
    chosen += ([frame for frame in python if not _is_standard(frame)] or python)[:1]
    return "in " + ", called from ".join(dict.fromkeys(map(_short, chosen)))


def _short(frame: Frame) -> str:
    """``act (faults.py:27)``, ``take_gil (libpython3.12.so.1.0)``."""
    name = PurePath(frame.file).name
    if frame.language == "python":
        return f"{frame.function} ({name}:{frame.line})"
    place = frame.library or name
    return f"{frame.function} ({place})" if place else frame.function


def told(pid: int, thread: Thread, frames: Sequence[Frame] | None = None) -> str:
    """A thread and its frames as text, the most recent call first."""
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
    """Python frames as tracebacks have them, C frames as debuggers do."""
    place = f"{frame.file}:{frame.line}" if frame.file else ""
    if frame.language == "python":
        return f"{frame.function}  {place}  (Python)"
    return "  ".join(part for part in (frame.function or "??", place, frame.library) if part)


def gil(stacks: Sequence[Stack]) -> list[str]:
    """Who holds the GIL in each process and who waits for it; nothing where nobody waits."""
    lines = []
    for stack in stacks:
        holders = [thread for thread in stack.threads if thread.gil == "holds"]
        waiting = [thread for thread in stack.threads if thread.gil == "waits"]
        held = some([f"thread {one.tid} {where(one.frames)}" for one in holders]) or "nobody"
        if holders or waiting:
            lines.append(
                f"pid {stack.pid}: the GIL is held by {held}; "
                f"{count(len(waiting), 'thread')} waiting for it"
            )
        elif stack.threads:
            lines.append(f"pid {stack.pid}: nobody holds the GIL, and nobody waits for it")
    return lines


def stuck(stack: Stack, unfinished: Sequence[Unfinished]) -> list[Thread]:
    """The threads that a hang is about: those with a request; else the first; else all in Python.

    Where no request has a thread's number (before Python 3.8), the first thread is taken if it
    runs Python, as it does at the start and at the end of a process.
    """
    having = [thread for thread in stack.threads if thread.frames]
    busy = {one.tid for one in unfinished if one.pid == stack.pid}
    python = [one for one in having if any(frame.language == "python" for frame in one.frames)]
    return (
        [thread for thread in having if thread.tid in busy]
        or [thread for thread in python if thread.tid == stack.pid]
        or [thread for thread in python if _serves(thread)]
        or [thread for thread in having if thread.tid == stack.pid]
        or python
    )


def _serves(thread: Thread) -> bool:
    return any(frame.function == "wsgi_execute_script" for frame in thread.frames)


def blocked(stacks: Sequence[Stack], unfinished: Sequence[Unfinished]) -> str:
    """The frames in which threads wait, with how many do; empty if nobody could tell."""
    threads = [thread for stack in stacks for thread in stuck(stack, unfinished)]
    places = Counter(where(thread.frames) for thread in threads)
    parts = [f"{count(number, 'thread')} {place}" for place, number in places.most_common()]
    return some(parts, _MOST_GROUPS)


def examples(stacks: Sequence[Stack], unfinished: Sequence[Unfinished]) -> list[str]:
    """One stack for each place in which threads wait."""
    found: dict[str, str] = {}
    for stack in stacks:
        for thread in stuck(stack, unfinished):
            found.setdefault(where(thread.frames), told(stack.pid, thread))
    return list(found.values())[:_MOST_GROUPS]


def notes(stacks: Sequence[Stack]) -> list[str]:
    """Why stacks are missing, and how to get them."""
    return list(dict.fromkeys(stack.note for stack in stacks if stack.note))
