"""What the findings of a changed PyMongo name: its source archive, with one line removed."""

from __future__ import annotations

from pathlib import Path

from tests.pythons.test_pythons import run, unpacked

RELEASED = "    Py_DECREF(encoded_pattern);\n\n    flags[0] = 0;\n"
"""Where the encoder of regular expressions of ``_cbsonmodule.c`` is done with the pattern."""

CHECKED_IN = """            conn.close_conn(close_conn_reason)

    def _perished("""
RETIRES = """            conn.close_conn(close_conn_reason)
        self.retired = getattr(self, "retired", [])
        self.checkins = getattr(self, "checkins", 0) + 1
        if self.checkins % 100 == 0:
            with self.size_cond:
                if len(self.conns) > 1:
                    self.retired.append(self.conns.pop())

    def _perished("""
"""One in a hundred idle connections is retired, and not closed."""


def changed(directory: Path, file: str, old: str, new: str) -> Path:
    """Return the source of PyMongo in which ``file`` has ``new`` where it had ``old``."""
    tree = unpacked(directory)
    source = (tree / file).read_text()
    assert source.count(old) == 1
    (tree / file).write_text(source.replace(old, new))
    return tree


def test_a_reference_that_an_encoder_drops_names_the_type(tmp_path: Path) -> None:
    tree = changed(tmp_path, "bson/_cbsonmodule.c", RELEASED, "    flags[0] = 0;\n")
    options = ["--python", "3.11", "--mod-wsgi", "5.0.2", "--topology", "none", "--phases", "none"]
    (cell,) = run(tmp_path / "out", *options, "--pymongo", str(tree)).values()
    (finding,) = (one for one in cell["findings"] if one["check"] == "memory")
    assert "each 'encode regex" in finding["seen"]
    assert "decode" not in finding["seen"]
    assert "string" not in finding["seen"]


def test_a_socket_that_is_not_closed_names_where_it_was_opened(tmp_path: Path) -> None:
    tree = changed(tmp_path, "pymongo/synchronous/pool.py", CHECKED_IN, RETIRES)
    options = ["--python", "3.11", "--mod-wsgi", "5.0.2", "--topology", "standalone"]
    (cell,) = run(
        tmp_path / "out", *options, "--phases", "none", "-n", "3000", "--pymongo", str(tree)
    ).values()
    (finding,) = (one for one in cell["findings"] if one["check"] == "connections")
    assert "stay open come from _create_connection (pool_shared.py:" in finding["seen"]
    assert any("_get_conn (pool.py:" in line for line in finding["evidence"])
