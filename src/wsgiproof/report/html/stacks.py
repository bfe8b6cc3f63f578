"""What the threads of processes that crashed or hung were doing, as text."""

from __future__ import annotations

from collections.abc import Iterator

from wsgiproof.records.observed import Frame, Observed, Stack, Thread

_MOST_FRAMES = 60
"""Of a thread; a recursion has thousands."""


def stacks(seen: Observed) -> Iterator[str]:
    """Yield a text for each process; its first line says which one, and why it was read."""
    yield from map(_stack, seen.stacks)
    yield from seen.fatal_traces


def _stack(one: Stack) -> str:
    lines = [f"{one.role} {one.pid}: {one.why} in phase {one.phase}", *filter(None, [one.note])]
    for thread in one.threads:
        lines += ["", *_thread(thread, one.thread)]
    return "\n".join(lines)


def _thread(one: Thread, crashed: int) -> Iterator[str]:
    parts = [f"thread {one.tid}"]
    parts += ["which crashed"] if one.tid == crashed else []
    parts += [f"interpreter {one.interpreter}"] if one.interpreter else []
    if one.gil:
        parts.append("holds the GIL" if one.gil == "holds" else "waits for the GIL")
    yield ", ".join(parts)
    yield from (f"  {_frame(frame)}" for frame in one.frames[:_MOST_FRAMES])
    if len(one.frames) > _MOST_FRAMES:
        yield f"  and {len(one.frames) - _MOST_FRAMES:,} more frames"


def _frame(one: Frame) -> str:
    where = f"{one.file}:{one.line}" if one.file else one.library
    return f"{one.function or '?'} ({one.language}) {where}".rstrip()
