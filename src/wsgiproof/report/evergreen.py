"""A matrix as the tasks of Evergreen, for its command ``generate.tasks``.

The project's own file has what differs between projects: the build variant, and the function that
sets up a machine (``examples/evergreen.yml``).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from wsgiproof.errors import UsageError
from wsgiproof.records.listed import Listed
from wsgiproof.report.matrix import Shard

NAME = "wsgiproof"
"""The build variant, the group of the tasks, and how the names of tasks begin."""
SET_UP, RUN, RESULTS = "wsgiproof set-up", "wsgiproof run", "wsgiproof results"
"""Functions. The first is the project's; a project that has the others can't generate tasks."""
_LONGEST = 24 * 3600
"""Seconds that Evergreen lets a task take at most ("Task Runtime Behavior")."""
_TEARDOWN = 900
"""Seconds for the results to be attached."""
_SOURCE = "src"
"""The directory of the checkout in that of the task, in which commands are run. The checkout is
what is tested, so nothing is written into it."""
_COMMAND = "wsgiproof-venv/bin/wsgiproof"
"""Where the project installs wsgiproof, in the directory of the task."""
_PLAN, _OUTPUT = "wsgiproof-plan.json", "wsgiproof-results"
_ARCHIVE = f"{_OUTPUT}.tgz"
# Evergreen replaces ${...} by an expansion, before a shell sees it.
_RUN = f"../{_COMMAND} run $CELLS --plan ../{_PLAN} --output ../{_OUTPUT} $wsgiproof_options"
_SHOW = f"{_COMMAND} show {_OUTPUT} --junit {_OUTPUT}/junit.xml --summary {_OUTPUT}/summary.md || :"


def for_evergreen(shards: Sequence[Shard], listed: Listed) -> dict[str, Any]:
    """Return tasks that run the cells, with the function, the group and the variant for them.

    Each task runs with the versions that ``listed`` names, ends after its time, and has its results
    attached, however it ends. Raises :class:`UsageError` if shrub.py is not installed.
    """
    try:
        from shrub.v3.evg_build_variant import BuildVariant
        from shrub.v3.evg_command import FunctionCall
        from shrub.v3.evg_project import EvgProject
        from shrub.v3.evg_task import EvgTask
        from shrub.v3.evg_task_group import EvgTaskGroup
    except ImportError as error:
        raise UsageError(
            "--evergreen needs shrub.py: pip install 'wsgiproof[evergreen]'"
        ) from error
    tasks = [
        EvgTask(
            name=f"{NAME}-{one.number}",
            tags=[NAME],
            exec_timeout_secs=min(one.minutes * 60, _LONGEST),
            commands=[FunctionCall(func=RUN, vars={"CELLS": " ".join(one.cells)})],
        )
        for one in shards
    ]
    group = EvgTaskGroup(
        name=NAME,
        tasks=[task.name for task in tasks],
        max_hosts=len(tasks),
        setup_task=[FunctionCall(func=SET_UP)],
        setup_task_can_fail_task=True,
        teardown_task=[FunctionCall(func=RESULTS)],
        teardown_task_timeout_secs=_TEARDOWN,
    )
    project = EvgProject(
        functions={RUN: [_run(listed)], RESULTS: _results()},
        tasks=tasks,
        task_groups=[group],
        # Of a variant that the project has: the group is added to it.
        buildvariants=[BuildVariant(name=NAME, tasks=[group.get_task_ref()])],
    )
    written: dict[str, Any] = project.model_dump(
        mode="json", exclude_none=True, exclude_unset=True, by_alias=True
    )
    return written


def _run(listed: Listed) -> Any:
    """Return the command that runs the cells of a task. It writes the plan, since files pass from
    one task of Evergreen to another only by a bucket."""
    from shrub.v3.evg_command import EvgCommandType, subprocess_exec

    # The cells of the task are among its variables, and all others are not needed.
    versions = msgspec.structs.replace(listed, cells=(), excluded=())
    plan = msgspec.json.encode(versions).decode()
    plan = shlex.quote(plan.replace("$", "\\u0024"))
    return subprocess_exec(
        binary="bash",
        args=["-ec", f"echo {plan} > ../{_PLAN}\n{_RUN}"],
        working_dir=_SOURCE,
        include_expansions_in_env=["CELLS", "wsgiproof_options"],
        command_type=EvgCommandType.TEST,
    )


def _results() -> list[Any]:
    """Return the commands that attach the results of a task, also of one that was ended: each
    planned cell has a test case. The bucket is that of the project, and a task without one has its
    test cases all the same."""
    from shrub.v3.evg_command import (
        EvgCommandType,
        S3Visibility,
        archive_targz_pack,
        attach_xunit_results,
        ec2_assume_role,
        s3_put,
        subprocess_exec,
    )

    def upload(local: str, name: str, kind: str, shown: str) -> Any:
        remote = "${build_variant}/${revision}/${version_id}/${build_id}/wsgiproof"
        return s3_put(
            aws_key="${AWS_ACCESS_KEY_ID}",
            aws_secret="${AWS_SECRET_ACCESS_KEY}",
            aws_session_token="${AWS_SESSION_TOKEN}",
            bucket="${bucket_name}",
            local_file=local,
            remote_file=f"{remote}/${{task_id}}-${{execution}}-{name}",
            permissions="private",
            visibility=S3Visibility.SIGNED,
            content_type=kind,
            display_name=shown,
            optional=True,
            command_type=EvgCommandType.SETUP,
        )

    return [
        subprocess_exec(binary="bash", args=["-ec", _SHOW], command_type=EvgCommandType.SYSTEM),
        attach_xunit_results(file=f"{_OUTPUT}/junit.xml", command_type=EvgCommandType.SYSTEM),
        archive_targz_pack(
            target=_ARCHIVE,
            source_dir=_OUTPUT,
            include=["./**"],
            command_type=EvgCommandType.SYSTEM,
        ),
        ec2_assume_role(role_arn="${assume_role_arn}", command_type=EvgCommandType.SETUP),
        upload(f"{_OUTPUT}/report.html", "report.html", "text/html", "wsgiproof: report"),
        upload(_ARCHIVE, _ARCHIVE, "application/gzip", "wsgiproof: records and logs"),
    ]
