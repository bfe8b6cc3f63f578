"""Planted faults, which wsgiproof has to find, and their negative controls, which have to pass.

The settings choose a fault by name. Faults of Apache's configuration alone are not here. If no
fault is chosen, nothing of them is imported, so that the subject is tested alone. No fault imports
the subject before :mod:`.app` does, unless that is the fault.
"""

from __future__ import absolute_import

from .faults_base import NoFault


def _classes():
    """Return every fault's class by name."""
    from . import faults_answers, faults_background, faults_failover, faults_leaks, faults_lifecycle
    from . import faults_remains

    return {
        "combined": Combined,
        "leak-connection": faults_leaks.LeakConnection,
        "reopen-connection": faults_leaks.ReopenConnection,
        "leak-after-error": faults_leaks.LeakAfterError,
        "handle-error": faults_leaks.HandleError,
        "fill-pool": faults_leaks.FillPool,
        "second-client": faults_leaks.SecondClient,
        "lose-idle-connection": faults_leaks.LoseIdleConnection,
        "close-idle-connection": faults_leaks.CloseIdleConnection,
        "reopen-client": faults_leaks.ReopenClient,
        "leak-descriptor": faults_leaks.LeakDescriptor,
        "reopen-descriptor": faults_leaks.ReopenDescriptor,
        "leak-thread": faults_leaks.LeakThread,
        "join-thread": faults_leaks.JoinThread,
        "leak-cursor": faults_leaks.LeakCursor,
        "close-cursor": faults_leaks.CloseCursor,
        "leak-session": faults_leaks.LeakSession,
        "end-session": faults_leaks.EndSession,
        "fill-session-pool": faults_leaks.FillSessionPool,
        "leak-object": faults_leaks.LeakObject,
        "close-connection-later": faults_leaks.CloseConnectionLater,
        "close-descriptor-later": faults_leaks.CloseDescriptorLater,
        "end-thread-later": faults_leaks.EndThreadLater,
        "expire-cache": faults_leaks.ExpireCache,
        "sawtooth-memory": faults_leaks.SawtoothMemory,
        "fill-cache": faults_leaks.FillCache,
        "leak-memory": faults_leaks.LeakMemory,
        "free-memory": faults_leaks.FreeMemory,
        "crash-in-request": faults_lifecycle.CrashInRequest,
        "crash-when-idle": faults_lifecycle.CrashWhenIdle,
        "work-in-request": faults_lifecycle.WorkInRequest,
        "crash-at-exit": faults_lifecycle.CrashAtExit,
        "work-at-exit": faults_lifecycle.WorkAtExit,
        "hang-in-request": faults_lifecycle.HangInRequest,
        "slow-request": faults_lifecycle.SlowRequest,
        "hang-at-import": faults_lifecycle.HangAtImport,
        "slow-start": faults_lifecycle.SlowStart,
        "hang-at-exit": faults_lifecycle.HangAtExit,
        "deadlock": faults_lifecycle.Deadlock,
        "ordered-locks": faults_lifecycle.OrderedLocks,
        "leave-process": faults_background.LeaveProcess,
        "end-process": faults_background.EndProcess,
        "leak-when-idle": faults_background.LeakWhenIdle,
        "work-when-idle": faults_background.WorkWhenIdle,
        "fail-to-import": faults_lifecycle.FailToImport,
        "leave-child": faults_remains.LeaveChild,
        "leave-zombie": faults_remains.LeaveZombie,
        "leave-file": faults_remains.LeaveFile,
        "leave-segment": faults_remains.LeaveSegment,
        "leave-collection": faults_remains.LeaveCollection,
        "leave-nothing": faults_remains.LeaveNothing,
        "slow-down": faults_remains.SlowDown,
        "leave-mapping": faults_remains.LeaveMapping,
        "close-mapping": faults_remains.CloseMapping,
        "leave-cycles": faults_remains.LeaveCycles,
        "collect-by-hand": faults_remains.CollectByHand,
        "grow-when-idle": faults_remains.GrowWhenIdle,
        "allocate-when-idle": faults_remains.AllocateWhenIdle,
        "leak-connection-alone": faults_remains.LeakConnectionAlone,
        "leak-on-failover": faults_failover.LeakOnFailover,
        "close-on-failover": faults_failover.CloseOnFailover,
        "keep-stale-sockets": faults_failover.KeepStaleSockets,
        "close-stale-sockets": faults_failover.CloseStaleSockets,
        "never-recover": faults_failover.NeverRecover,
        "recover-late": faults_failover.RecoverLate,
        "wrong-value": faults_answers.WrongValue,
        "foreign-type": faults_answers.ForeignType,
        "no-extension": faults_answers.NoExtension,
        "wrong-version": faults_answers.WrongVersion,
        "wrong-header": faults_answers.WrongHeader,
        "short-body": faults_answers.ShortBody,
        "answer-redirect": faults_answers.AnswerRedirect,
        "stream-body": faults_answers.StreamBody,
        "log-traceback": faults_answers.LogTraceback,
        "log-lines": faults_answers.LogLines,
        "log-warnings": faults_answers.LogWarnings,
    }


class Combined(NoFault):
    """Does what several others do: ``parts`` has the name and the options of each."""

    def __init__(self, parts):
        self._parts = [named(name, options) for name, options in parts]

    def before_import(self):
        for part in self._parts:
            part.before_import()

    def at_load(self, store):
        for part in self._parts:
            part.at_load(store)

    def on_request(self, store):
        for part in self._parts:
            part.on_request(store)


def named(name, options):
    """Return the fault of this name, or one that does nothing if the name is None.

    ``options`` are its keyword arguments. Raises ValueError for an unknown name.
    """
    if name is None:
        return NoFault()
    classes = _classes()
    if name not in classes:
        raise ValueError("no fault is named %r; there are: %s" % (name, ", ".join(sorted(classes))))
    return classes[name](**options)
