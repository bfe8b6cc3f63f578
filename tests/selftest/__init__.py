"""The self test as a whole, which takes too long for ``make test``: ``make selftest``."""

import pytest

pytest.register_assert_rewrite("tests.selftest.trials")
