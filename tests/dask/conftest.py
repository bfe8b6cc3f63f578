"""Workers of this machine that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from wsgiproof.run.executors.dask_cluster import connected


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connected("local", 2) as opened:
        yield opened
