"""Parses the stacks that pystack and gdb print.

pystack distinguishes Python from C and knows interpreters; gdb knows only C. Both are parsed line
by line, and lines that are neither a thread nor a frame are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Literal

from wsgiproof.records.observed import SIGNAL_HANDLER, Frame, Thread

_RETURN_FROM_SIGNAL = "__restore_rt"
"""The C library's name for that frame, if the unwinder does not mark it."""
_MOST_FRAMES = 50
_MOST_THREADS = 200

_PYSTACK_THREAD = re.compile(r"Traceback for thread (\d+)(?: \(.*?\))?(?: \[([^]]*)\])? \(most")
_PYSTACK_INTERPRETER = re.compile(
    r"  (?:In interpreter (?P<number>\d+)|In (?:the )?(?P<main>main) interpreter"
    r"|Not currently attached to any interpreter) \[(?P<state>[^]]*)\]"
)
_PYSTACK_FRAME = re.compile(
    r"    \((?P<language>Python|C)\) File \"(?P<file>.*)\", line (?P<line>\d+), in "
    r"(?P<function>.*?)(?: \((?P<library>[^()]*)\))?$"
)
_GDB_THREAD = re.compile(r"Thread \d+ \(.*?\b(?:LWP|process) (\d+)\b")
_GDB_FRAME = re.compile(
    r"#\d+ +(?:0x[0-9a-f]+ in )?(?P<function>.+?) \(.*?\)"
    r"(?: at (?P<file>.+):(?P<line>\d+)| from (?P<library>.+))?$"
)
_EVALUATES = re.compile(r"_?PyEval_(EvalFrame|Vector|EvalCode)")
_GDB_SIGNAL = re.compile(r"#\d+ +<signal handler called>")


def parse_pystack(text: str) -> tuple[Thread, ...]:
    """Return the threads in the output of ``pystack remote`` or ``pystack core``.

    A thread that works for several interpreters in turn has a part for each. It counts as being in
    the one in which it has frames.
    """
    return tuple(_pystack_thread(lines) for lines in _blocks(text, _PYSTACK_THREAD))


def parse_gdb(text: str) -> tuple[Thread, ...]:
    """Return the threads in the output of ``thread apply all backtrace``."""
    threads = []
    for lines in _blocks(text, _GDB_THREAD):
        match = _GDB_THREAD.match(lines[0])
        assert match is not None
        frames = [frame for line in lines if (frame := _gdb_frame(line))]
        threads.append(Thread(tid=int(match[1]), frames=tuple(frames[:_MOST_FRAMES])))
    return tuple(threads)


def has(thread: Thread, language: Literal["python", "c"]) -> bool:
    """Return whether a thread has frames of this language."""
    return any(frame.language == language for frame in thread.frames)


def combined(known: Sequence[Frame], c: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return one stack of the Python frames in ``known`` and the C frames in ``c``.

    Python frames are put where C evaluates them. If there are several evaluations, all Python
    frames are put at the first, since it is unknown which frame belongs to which evaluation.
    """
    python = [frame for frame in known if frame.language == "python"]
    evaluating = [number for number, frame in enumerate(c) if _EVALUATES.match(frame.function)]
    if not python or not evaluating:
        return (*python, *c)
    return (*c[: evaluating[0]], *python, *c[evaluating[-1] + 1 :])


def _blocks(text: str, start: re.Pattern[str]) -> Iterator[Sequence[str]]:
    """Yield the lines of each thread; the first one names it."""
    block: list[str] = []
    number = 0
    for line in text.splitlines():
        if start.match(line):
            if block:
                yield block
            number += 1
            block = []
            if number > _MOST_THREADS:
                return
        if block or start.match(line):
            block.append(line)
    if block:
        yield block


def _pystack_thread(lines: Sequence[str]) -> Thread:
    match = _PYSTACK_THREAD.match(lines[0])
    assert match is not None
    interpreter = ""
    frames: list[Frame] = []
    here = "main" if match[2] is not None else ""  # the process has no other interpreter
    states = [match[2] or ""]
    for line in lines[1:]:
        if part := _PYSTACK_INTERPRETER.match(line):
            here = part["number"] or part["main"] or ""
            states.append(part["state"])
            if part["state"]:
                interpreter = interpreter or here
        elif frame := _PYSTACK_FRAME.match(line):
            interpreter = here if not frames else interpreter
            frames.append(_pystack_frame(frame))
    return Thread(
        tid=int(match[1]),
        interpreter=interpreter,
        gil=_gil(" ".join(states)),
        frames=tuple(reversed(frames))[:_MOST_FRAMES],
    )


def _gil(state: str) -> Literal["holds", "waits", ""]:
    if "Has the GIL" in state:
        return "holds"
    return "waits" if "Waiting for the GIL" in state else ""


def _pystack_frame(match: re.Match[str]) -> Frame:
    if match["language"] == "Python":
        return Frame(
            function=match["function"],
            language="python",
            file=match["file"],
            line=int(match["line"]),
        )
    function = match["function"].removesuffix(" (inlined)")
    library = PurePath(match["library"] or "").name
    unknown = not int(match["line"])  # then the file is no source file
    return Frame(
        function=_function(function),
        language="c",
        file="" if unknown else match["file"],
        line=int(match["line"]),
        library=library,
    )


def _gdb_frame(line: str) -> Frame | None:
    if _GDB_SIGNAL.match(line):
        return Frame(function=SIGNAL_HANDLER, language="c")
    match = _GDB_FRAME.match(line)
    if match is None:
        return None
    return Frame(
        function=_function(match["function"]),
        language="c",
        file=match["file"] or "",
        line=int(match["line"] or 0),
        library=PurePath(match["library"] or "").name,
    )


def _function(name: str) -> str:
    """Return a function's name in the source, without what compilers and the linker add."""
    if name == _RETURN_FROM_SIGNAL:
        return SIGNAL_HANDLER
    name = re.sub(r"\.(constprop|isra|part|cold|lto_priv)\b.*|@+GLIBC\S*", "", name)
    return "" if name in ("???", "??") else name
