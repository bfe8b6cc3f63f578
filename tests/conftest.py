"""What every suite has in common."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell ignores SIGINT in what it starts with "&", and nohup ignores SIGHUP. Every child would
# inherit that, and tests of these signals would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A temporary directory that Apache's user can enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="wp-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
