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

NEEDS_NO_GIL = CLEAN.replace(
    "{0, NULL}};",
    "#ifdef Py_mod_gil\n    {Py_mod_gil, Py_MOD_GIL_NOT_USED},\n#endif\n    {0, NULL}};",
)
"""The same, and it leaves the GIL off where a Python has none. All others here turn it on."""

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

_MULTI_PHASE = r"""
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, run},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, sizeof(struct state), methods, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&def); }
"""
STATIC_STATE = r"""
#include <Python.h>
static PyInterpreterState *owner;
static PyObject *mine(PyObject *self, PyObject *none) {
    return PyBool_FromLong(owner == PyInterpreterState_Get());
}
static PyMethodDef methods[] = {{"mine", mine, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) {
    if (owner == NULL) owner = PyInterpreterState_Get();
    return PyModule_Create(&def);
}
"""
"""A module with single-phase initialization, whose state is that of the first interpreter."""
MODULE_STATE = (
    r"""
#include <Python.h>
struct state { PyInterpreterState *owner; };
static int run(PyObject *module) {
    ((struct state *)PyModule_GetState(module))->owner = PyInterpreterState_Get();
    return 0;
}
static PyObject *mine(PyObject *self, PyObject *none) {
    struct state *state = PyModule_GetState(self);
    return PyBool_FromLong(state->owner == PyInterpreterState_Get());
}
static PyMethodDef methods[] = {{"mine", mine, METH_NOARGS, NULL}, {NULL}};
"""
    + _MULTI_PHASE
)
"""Its negative control: the state is that of the module."""
STATIC_TYPE = r"""
#include <Python.h>
static PyTypeObject Keeper = {PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "NAME.Keeper",
    .tp_basicsize = sizeof(PyObject), .tp_flags = Py_TPFLAGS_DEFAULT};
struct state { int unused; };
static int run(PyObject *module) { return PyType_Ready(&Keeper); }
static PyObject *keep(PyObject *self, PyObject *error) {
    if (PyDict_GetItemString(Keeper.tp_dict, "Error") == NULL)
        PyDict_SetItemString(Keeper.tp_dict, "Error", error);
    Py_RETURN_NONE;
}
static PyObject *fail(PyObject *self, PyObject *none) {
    PyErr_SetString(PyDict_GetItemString(Keeper.tp_dict, "Error"), "of the first interpreter");
    return NULL;
}
static PyMethodDef methods[] = {
    {"keep", keep, METH_O, NULL}, {"fail", fail, METH_NOARGS, NULL}, {NULL}};
""" + _MULTI_PHASE.replace("PER_INTERPRETER_GIL_SUPPORTED", "MULTIPLE_INTERPRETERS_SUPPORTED")
"""A static type that keeps an object of the first interpreter, as PyMongo once did."""
MODULE_TYPE = (
    r"""
#include <Python.h>
struct state { PyObject *error; };
static int run(PyObject *module) { return 0; }
static PyObject *keep(PyObject *self, PyObject *error) {
    struct state *state = PyModule_GetState(self);
    if (state->error == NULL) state->error = Py_NewRef(error);
    Py_RETURN_NONE;
}
static PyObject *fail(PyObject *self, PyObject *none) {
    PyErr_SetString(((struct state *)PyModule_GetState(self))->error, "of this interpreter");
    return NULL;
}
static PyMethodDef methods[] = {
    {"keep", keep, METH_O, NULL}, {"fail", fail, METH_NOARGS, NULL}, {NULL}};
"""
    + _MULTI_PHASE
)
"""Its negative control: the module keeps the object."""
_IN_A_THREAD = r"""
#include <Python.h>
#include <pthread.h>
struct state { int unused; };
static int run(PyObject *module) { return 0; }
static PyInterpreterState *seen;
static void *look(void *interpreter) {
    ENTER
    seen = PyInterpreterState_Get();
    LEAVE
    return NULL;
}
static PyObject *here(PyObject *self, PyObject *none) {
    pthread_t thread;
    PyInterpreterState *own = PyInterpreterState_Get();
    Py_BEGIN_ALLOW_THREADS
    if (pthread_create(&thread, NULL, look, own) == 0) pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(seen == own);
}
static PyMethodDef methods[] = {{"here", here, METH_NOARGS, NULL}, {NULL}};
"""
GIL_STATE = (
    _IN_A_THREAD.replace("ENTER", "PyGILState_STATE state = PyGILState_Ensure();").replace(
        "LEAVE", "PyGILState_Release(state);"
    )
    + _MULTI_PHASE
)
"""A thread that asks for the GIL by PyGILState, which gives it the main interpreter."""
THREAD_STATE = (
    _IN_A_THREAD.replace(
        "ENTER",
        "PyThreadState *state = PyThreadState_New(interpreter); PyEval_RestoreThread(state);",
    ).replace("LEAVE", "PyThreadState_Clear(state); PyThreadState_DeleteCurrent();")
    + _MULTI_PHASE
)
"""Its negative control: the thread names its interpreter."""
CRASHES_SOMETIMES = CRASHES_AT_THE_END.replace(
    "if (state != NULL && *state)",
    "static int ended;\n    unsigned char drawn = 255;\n"
    "    if (ended++ || getrandom(&drawn, 1, 0) != 1) return;\n"
    "    if (state != NULL && *state && drawn < 51)",
).replace("#include <Python.h>", "#include <Python.h>\n#include <sys/random.h>")
"""The same in one process of five."""

REGISTERS_ONCE = r"""
#include <Python.h>
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "NAME", NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_NAME(void) {
    PyObject *module = PyModule_Create(&def), *lib = PyModule_New("NAME.lib");
    PyDict_SetItemString(PyImport_GetModuleDict(), "NAME.lib", lib);
    PyModule_AddObject(module, "lib", lib);
    Py_XDECREF(PyImport_ImportModule("clean"));
    return module;
}
"""
"""A module that registers another one, and imports a third, only where it is initialized first, as
those of cffi do. Nothing is lost in the second interpreter."""
_LARGE_MEMORY = r"""
#include <Python.h>
#include <stdlib.h>
#include <string.h>
struct state { void *memory; };
static int run(PyObject *module) {
    struct state *state = PyModule_GetState(module);
    state->memory = malloc(SIZE << 20);
    if (state->memory != NULL) memset(state->memory, 1, SIZE << 20);
    return 0;
}
static void end(void *module) {
    struct state *state = PyModule_GetState((PyObject *)module);
    if (state != NULL) { END }
}
static PyMethodDef methods[] = {{NULL}};
""" + _MULTI_PHASE.replace("NULL, NULL, NULL};\nPyMODINIT", "NULL, NULL, end};\nPyMODINIT")
LEAVES_MEMORY = _LARGE_MEMORY.replace("SIZE", "24").replace("END", "")
"""A module that does not free its memory when its interpreter ends."""
LEAVES_LITTLE = _LARGE_MEMORY.replace("SIZE", "6").replace("END", "")
"""The same, below the usual limit."""
FREES_MEMORY = _LARGE_MEMORY.replace("SIZE", "24").replace("END", "free(state->memory);")
"""Its negative control."""

C: Mapping[str, str] = {
    "clean": CLEAN,
    "one_interpreter": ONE_INTERPRETER,
    "single_phase": SINGLE_PHASE,
    "refuses_by_slot": REFUSES_BY_SLOT,
    "crashes_at_the_end": CRASHES_AT_THE_END,
    "leaves_memory": LEAVES_MEMORY,
    "leaves_little": LEAVES_LITTLE,
    "frees_memory": FREES_MEMORY,
}
"""Distributions of one extension module."""

_KEEPS = (
    "import _NAME\nclass Error(Exception):\n    pass\n"
    "_NAME.keep(Error)\ntry:\n    _NAME.fail()\nexcept Error:\n    pass\n"
)
MIXED: Mapping[str, tuple[str, str]] = {
    "static_state": (STATIC_STATE, "import _NAME\nHAVE_STATE = _NAME.mine()\n"),
    "module_state": (MODULE_STATE, "import _NAME\nHAVE_STATE = _NAME.mine()\n"),
    "static_type": (STATIC_TYPE, _KEEPS),
    "module_type": (MODULE_TYPE, _KEEPS),
    "registers_once": (REGISTERS_ONCE, "from _NAME import lib\n"),
    "gil_state": (GIL_STATE, "import _NAME\nHAVE_THREADS = _NAME.here()\n"),
    "thread_state": (THREAD_STATE, "import _NAME\nHAVE_THREADS = _NAME.here()\n"),
}
"""Distributions of an extension module, whose name begins with ``_``, and one that uses it."""

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

    def add_mixed(self, name: str, source: str, text: str) -> None:
        """Install a distribution of an extension module and of the one that uses it."""
        self.add(name, {f"{name}.py": text.replace("NAME", name)})
        self._record(name, [f"{name}.py", self._compile(f"_{name}", source)])

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
