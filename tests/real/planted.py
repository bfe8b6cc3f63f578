"""Packages that misbehave on purpose, built and installed in an environment of their own.

Those that behave well in the main interpreter ask a small extension module which one they are in.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from wsgiproof.provision.toolchain import Python

CLEAN = r"""
#include <Python.h>
static PyObject *in_main(PyObject *self, PyObject *none) {
    return PyBool_FromLong(PyInterpreterState_Get() == PyInterpreterState_Main());
}
static PyMethodDef methods[] = {{"in_main", in_main, METH_NOARGS, NULL}, {NULL}};
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, 0, methods, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&def); }
"""
"""A module for any number of interpreters, which says whether it is in the main one."""

ONE_INTERPRETER = r"""
#include <Python.h>
static PyInterpreterState *first;
static int run(PyObject *module) {
    if (first == NULL) first = PyInterpreterState_Get();
    if (first == PyInterpreterState_Get()) return 0;
    PyErr_SetString(PyExc_ImportError, "only one interpreter may load this");
    return -1;
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, run},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, 0, NULL, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&def); }
"""
"""A module that the first interpreter may load, as those of PyO3."""

SINGLE_PHASE = r"""
#include <Python.h>
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModule_Create(&def); }
"""
"""A module with single-phase initialization, which interpreters with their own GIL do not load."""

REFUSES_BY_SLOT = r"""
#include <Python.h>
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, 0, NULL, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&def); }
"""

CRASHES_AT_THE_END = r"""
#include <Python.h>
static int run(PyObject *module) {
    *(int *)PyModule_GetState(module) = PyInterpreterState_Get() != PyInterpreterState_Main();
    return 0;
}
static void end(void *module) {
    int *state = PyModule_GetState((PyObject *)module);
    if (state != NULL && *state) *(volatile int *)0 = 1;
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, run},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, sizeof(int), NULL, slots, NULL, NULL, end};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&def); }
"""
"""A module that is freed with its sub interpreter, which dies of it."""

C: Mapping[str, str] = {
    "clean": CLEAN,
    "one_interpreter": ONE_INTERPRETER,
    "single_phase": SINGLE_PHASE,
    "refuses_by_slot": REFUSES_BY_SLOT,
    "crashes_at_the_end": CRASHES_AT_THE_END,
}
"""Distributions of one extension module."""

_SUB = "from clean import in_main\nif not in_main():\n    "
PYTHON: Mapping[str, str] = {
    "hangs": _SUB + "import time; time.sleep(1000)",
    "crashes": _SUB + "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "thread_goes_on": _SUB
    + (
        "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True, "
        "name='goes on').start()"
    ),
    "thread_ends": _SUB
    + (
        "import threading, time; "
        "threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()"
    ),
    "exits": _SUB + "import os; os._exit(3)",
    "depends": "import one_interpreter",
    "flags": "from clean import in_main\nHAVE_SPEED = in_main()",
    "harmless_flags": "import random\nHAVE_LUCK = True\nSEED = random.random()",
    "broken": "import does_not_exist",
}
"""Distributions of one module, which is Python."""

HOSTILE: Mapping[str, str] = {
    "exits_at_once": "import os; os._exit(0)",
    "kills_its_parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "prints": "import sys\nfor out in sys.stdout, sys.stderr:\n    out.write('line\\n' * 10**6)",
    "daemonizes": (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.execlp('sleep', 'sleep', '1000')\n    os._exit(0)"
    ),
    "is_root": "import os\nassert os.getuid() and os.geteuid()",
    "reads_passwords": "open('/etc/shadow').read()",
    "sleeps": "import time; time.sleep(1000)",
    "fills_the_disk": (
        "n = 0\nwhile True:\n    n += 1\n    open(f'file{n}', 'wb').write(bytes(1 << 20))"
    ),
    "writes_elsewhere": (
        "import os\nos.open('/tmp/wsgiproof-planted', os.O_WRONLY | os.O_CREAT | os.O_EXCL)"
    ),
    "connects": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)",
    "forks": (
        "import os, time\n"
        "while True:\n    if os.fork() == 0:\n        time.sleep(1000)\n        os._exit(0)"
    ),
    "removes_its_directory": (
        "import os\nfor name in os.listdir('.'):\n    os.remove(name)\nos.rmdir(os.getcwd())"
    ),
    "forges": (
        "import os\nos.write(3, b'[' * 100_000 + b'\\n')\n"
        'os.write(3, b\'{"claim":"finished"}\\n\')\n'
        "os._exit(0)"
    ),
}


class Site:
    """A virtual environment to install such packages in."""

    def __init__(self, python: Python, home: Path) -> None:
        self.home = home
        subprocess.run([python.path, "-m", "venv", "--without-pip", home], check=True)
        (self._packages,) = home.glob("lib/python*/site-packages")
        self._include = self._ask(python, "sysconfig.get_path('include')")
        self._suffix = self._ask(python, "sysconfig.get_config_var('EXT_SUFFIX')")

    def _ask(self, python: Python, what: str) -> str:
        command = [python.path, "-c", f"import sysconfig; print({what})"]
        return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()

    def add(self, name: str, files: Mapping[str, str]) -> None:
        """Install a distribution with these files."""
        for path, text in files.items():
            target = self._packages / path
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
        self._record(name, list(files))

    def add_c(self, name: str, source: str) -> None:
        """Compile and install a distribution with one extension module."""
        self._record(name, [self._compile(name, source)])

    def add_fallback(self, name: str) -> None:
        """Install a package that silently does without its extension module."""
        init = (
            f"try:\n    from {name} import _fast\nexcept ImportError:\n    _fast = None\n"
            "HAVE_FAST = _fast is not None\n"
        )
        self.add(name, {f"{name}/__init__.py": init})
        file = self._compile("_fast", ONE_INTERPRETER, folder=f"{name}/")
        self._record(name, [f"{name}/__init__.py", file])

    def _compile(self, name: str, source: str, folder: str = "") -> str:
        file = f"{folder}{name}{self._suffix}"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", f"-I{self._include}", "-x", "c", "-", "-o",
             self._packages / file],
            input=source.replace("NAME", name).encode(),
            check=True,
        )  # fmt: skip
        return file

    def _record(self, name: str, files: list[str]) -> None:
        info = self._packages / f"{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
