"""The certificates of a deployment with TLS, made for one run.

trustme makes them, of the extra ``[tls]``. It is imported where certificates are made, since few
runs need any.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.files import Directory
from wsgiproof.process.account import Account
from wsgiproof.server.ports import LOOPBACK

if TYPE_CHECKING:
    from trustme import CA


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one deployment."""

    authority: Path
    """The certificate of its authority, for wsgiproof and for each mongod. Only this user can write
    to it."""
    key: Path
    """The key and the certificate of each mongod, which only its account can read."""
    for_subject: Path
    """A copy of ``authority``, which only Apache's user can read."""
    stranger: Path
    """The certificate of an authority that signed nothing here, for the same user."""


def check_trustme() -> None:
    """Raise :class:`PrerequisiteMissing` if certificates can't be made."""
    if importlib.util.find_spec("trustme") is None:
        raise PrerequisiteMissing(
            "--transport tls makes certificates with trustme: 'pip install \"wsgiproof[tls]\"'"
        )


def make_certificates(directory: Path, account: Account, shared: Path) -> Certificates:
    """Make an authority and a certificate for loopback that it signs.

    ``directory`` is that of the mongods, which run as ``account``, and ``shared`` belongs to
    Apache's user. Raises :class:`PrerequisiteMissing` as :func:`check_trustme`.
    """
    check_trustme()
    from trustme import CA

    made = Certificates(
        authority=directory / "authority.pem",
        key=directory / "mongod.pem",
        for_subject=shared / "authority.pem",
        stranger=shared / "stranger.pem",
    )
    authority, stranger = CA(), CA()
    certificate = authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.bytes()
    user, group = account.ids
    with Directory(directory) as opened:
        opened.write(made.key.name, certificate, 0o400, owner=user, group=group)
        opened.write(made.authority.name, _text(authority), 0o440, group=group)
    with Directory(shared) as opened:
        ids = os.fstat(opened.fd)
        for path, one in ((made.for_subject, authority), (made.stranger, stranger)):
            opened.write(path.name, _text(one), 0o400, owner=ids.st_uid, group=ids.st_gid)
    return made


def _text(authority: CA) -> bytes:
    return authority.cert_pem.bytes()
