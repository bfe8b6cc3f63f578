"""The URIs of deployments: read them, rewrite them, and show them without credentials.

A URI may contain a password, and every user can see the arguments of a program (proc(5)). So a
reference may be given instead: ``env:NAME``, ``file:PATH``, or ``-`` for a line of standard input.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import open_regular, read_at_most

FILE = "file:"
_ENVIRONMENT = "env:"
_STANDARD_INPUT = "-"
_LONGEST = 1 << 16
_TLS_FILES = ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile")
"""The options of a URI that name files (PyMongo's documentation of MongoClient)."""


def is_uri(target: str) -> bool:
    """Whether this is a URI or a reference to one, and not a mongod to start."""
    return (
        target.startswith(("mongodb:", "mongodb+srv:")) or "://" in target or is_reference(target)
    )


def is_reference(target: str) -> bool:
    """Whether this is a reference to a URI."""
    return target == _STANDARD_INPUT or target.startswith((_ENVIRONMENT, FILE))


def resolve(target: str) -> str:
    """Return the URI itself. Raises :class:`UsageError` if a reference has none, or if others can
    read its file."""
    if not is_reference(target):
        return target
    uri = _read(target).strip()
    if not uri or is_reference(uri) or not is_uri(uri):
        # The text is not shown, since it may still contain a password.
        raise UsageError(f"--mongodb {target}: there is no mongodb:// URI in it")
    return uri


def _read(target: str) -> str:
    if target == _STANDARD_INPUT:
        if sys.stdin is not None and sys.stdin.isatty():
            return getpass.getpass("MongoDB URI: ")
        return sys.stdin.readline(_LONGEST) if sys.stdin is not None else ""
    if target.startswith(_ENVIRONMENT):
        name = target.removeprefix(_ENVIRONMENT)
        if name not in os.environ:
            raise UsageError(f"--mongodb {target}: there is no environment variable '{name}'")
        return os.environ[name]
    return _first_line(Path(target.removeprefix(FILE)))


def _first_line(path: Path) -> str:
    try:
        with open_regular(path, follow=True) as file:
            seen = os.fstat(file.fileno())
            if seen.st_uid not in (0, os.geteuid()):
                raise UsageError(f"--mongodb {FILE}{path}: the file belongs to another user")
            if stat.S_IMODE(seen.st_mode) & 0o077:
                raise UsageError(
                    f"--mongodb {FILE}{path}: other users may read or write the file: "
                    f"'chmod 600 {path}'"
                )
            text = read_at_most(file, _LONGEST).decode()
    except OSError as error:
        raise UsageError(f"--mongodb {FILE}{path}: {describe(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--mongodb {FILE}{path}: it is not UTF-8") from error
    return text.partition("\n")[0]


def has_password(uri: str) -> bool:
    """Whether a URI contains a password or another secret."""
    before, at, _ = uri.partition("://")[2].rpartition("@")
    return (bool(at) and ":" in before) or "authMechanismProperties=" in uri


def safe(uri: str) -> str:
    """Return the members of a URI that PyMongo has accepted, without credentials, for messages."""
    return ",".join(hosts_of(uri))


def files(uri: str) -> dict[str, Path]:
    """Return the TLS files that a URI names, by their options."""
    named = {option.lower(): value for option, value in parse_qsl(urlsplit(uri).query)}
    return {option: Path(named[option.lower()]) for option in _TLS_FILES if option.lower() in named}


def hosts_of(uri: str) -> list[str]:
    """Return the members that a URI names, each ``HOST`` or ``HOST:PORT``."""
    return urlsplit(uri).netloc.rpartition("@")[2].split(",")


def host_and_port(host: str) -> tuple[str, int]:
    """Return host and port of a member."""
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon and port.isdigit() else (host, 27017)


def with_hosts(uri: str, hosts: list[str], **options: str | None) -> str:
    """Return the URI with other members, and with options as :func:`with_options` sets them."""
    parts = urlsplit(uri)
    user = parts.netloc.rpartition("@")[0]
    netloc = f"{user}@{','.join(hosts)}" if user else ",".join(hosts)
    return with_options(urlunsplit(parts._replace(netloc=netloc)), **options)


def with_user(uri: str, user: str, password: str, **options: str | None) -> str:
    """Return the URI with this user and password, which may have any characters."""
    parts = urlsplit(uri)
    netloc = f"{quote_plus(user)}:{quote_plus(password)}@{','.join(hosts_of(uri))}"
    return with_options(urlunsplit(parts._replace(netloc=netloc)), **options)


def with_options(uri: str, **options: str | None) -> str:
    """Return the URI with these options; None removes one.

    Names compare without case, as in the URI spec. The other options remain unchanged: for some,
    such as ``readPreferenceTags``, the exact characters, the order, and being empty matter.
    """
    parts = urlsplit(uri)
    replaced = {name.lower() for name in options}
    kept = [
        option
        for option in parts.query.split("&")
        if option and option.partition("=")[0].lower() not in replaced
    ]
    added = {name: value for name, value in options.items() if value is not None}
    query = "&".join([*kept, urlencode(added, quote_via=quote)] if added else kept)
    return urlunsplit(parts._replace(path=parts.path or "/", query=query))
