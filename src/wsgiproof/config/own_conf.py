"""A run with the user's own ``httpd.conf``: what it says takes the place of options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from wsgiproof.config.model import MOST_PROCESSES, MOST_THREADS, Config
from wsgiproof.errors import UsageError
from wsgiproof.process.account import Account, server_account
from wsgiproof.server.configuration import usual_workers
from wsgiproof.server.own_conf import OwnConf, read_own_conf

_SAID = (
    "app",
    "control",
    "sub_interpreters",
    "virtual_hosts",
    "processes",
    "min_processes",
    "threads",
    "maximum_requests",
    "home",
    "access_log",
    "dask",
)
"""What has no place beside it: the file says it, or it is about something else."""
_USUAL = Config()


def with_own_conf(
    config: Config, environment: Mapping[str, str], account: Account | None = None
) -> Config:
    """Return a configuration with what its ``httpd_conf`` says, if it names one.

    The server runs as ``account``, which is usually that of Apache's children. Axes that were asked
    for stay, and what the interpreters report is compared with them. Raises :class:`UsageError` for
    a file that can't be run, and for what has no place beside it.
    """
    if not config.httpd_conf:
        if config.url:
            raise UsageError("--url needs --httpd-conf: elsewhere wsgiproof makes the URLs")
        return config
    own = own_conf_of(config, environment, account)
    for name in _SAID:
        if getattr(config, name) != getattr(_USUAL, name):
            raise UsageError(
                f"--{name.replace('_', '-')} and --httpd-conf exclude each other: the file says "
                "what is served"
            )
    if not config.url:
        raise UsageError(
            "--httpd-conf needs --url for each URL to request, such as --url /shop: two of "
            "different interpreters show more than one"
        )
    for one in config.url:
        own.url(one, 1)
    said = {
        "mode": own.mode,
        "mpm": own.mpm,
        "interpreter": own.interpreter,
        "loading": own.loading,
    }
    missing = {axis: (str(one),) for axis, one in said.items() if not config.axes.get(axis)}
    jobs = config.jobs
    if 0 not in own.ports:
        if jobs not in (None, 1):
            raise UsageError(
                f"--jobs {jobs}: the cells of {config.httpd_conf} listen on the same port; with "
                "'Listen 127.0.0.1:${WSGIPROOF_PORT}' each gets one of its own"
            )
        jobs = 1
    usual = usual_workers(own.mode, own.mpm)
    constant = not own.min_processes
    return msgspec.structs.replace(
        config.with_axes(**missing),
        processes=0
        if constant and own.processes == usual[0]
        else min(own.processes, MOST_PROCESSES),
        min_processes=min(own.min_processes, MOST_PROCESSES - 1),
        threads=0 if own.threads == usual[1] else min(own.threads, MOST_THREADS),
        maximum_requests=own.maximum_requests,
        sub_interpreters=len(config.url),
        jobs=jobs,
    )


def own_conf_of(
    config: Config, environment: Mapping[str, str], account: Account | None = None
) -> OwnConf:
    """Return what the file of a configuration says. Arguments and errors are as for
    :func:`with_own_conf`."""
    return read_own_conf(Path(config.httpd_conf), environment, account or server_account())
