"""What an audit runs in the target Python: it imports a distribution in several interpreters.

It is a script that uses only the standard library, of Python 3.10 or newer::

    python -I -B probe.py JOB inventory        prints the installed distributions as JSON
    python -I -B probe.py JOB probe            writes claims, as lines of JSON

In Apache, its :func:`served` makes the application of the deep tier.

JOB is a JSON file; descriptor 3 is a directory in which the file ``claims`` is made. Each claim is
written before or after the thing that it is about, so that the last one says what a process was
doing when it ended. What is imported here can write anything, too: nobody trusts the claims.
"""

import importlib
import importlib.machinery
import json
import linecache
import os
import re
import sys
import time
import types
import warnings

DIRECTORY = 3
"""The descriptor of the directory for the claims."""
FLAG = re.compile(r"_?(HAVE|HAS)_?[A-Z0-9_]*")
"""The names of constants that say what is available."""
LONGEST = 500
"""Characters of a message."""
MOST = 20000
"""Names of each list in a snapshot, and files of a distribution."""
MOST_EXTENSIONS = 200
THREADS_LEFT = "threads are left in this interpreter"


class Claims:
    """Writes one JSON object in a line, at once."""

    def __init__(self, descriptor, interpreter):
        self.descriptor = descriptor
        self.interpreter = interpreter

    def write(self, claim, **fields):
        fields.update(claim=claim, interpreter=self.interpreter)
        os.write(self.descriptor, json.dumps(fields).encode() + b"\n")


def short(value):
    """One line of at most LONGEST characters."""
    return " ".join(str(value).split())[:LONGEST]


class Searches:
    """A finder that finds nothing, and knows what was searched for."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)


# --- in each interpreter -------------------------------------------------------------------


def use(job, claims):
    """Import all modules of the job in this interpreter, do the exercise, and tell what is there.

    An exception is claimed, and the next module is tried.
    """
    seen = []
    searches = Searches()
    sys.meta_path.insert(0, searches)
    warnings.showwarning = lambda message, category, *rest: seen.append(
        short("{}: {}".format(category.__name__, message))
    )
    modules = list(job["modules"])
    if job["swap"]:
        modules.reverse()
    for module in [*job["first"], *modules]:
        attempt(claims, searches, "import", importlib.import_module, module)
    if job["exercise"]:
        attempt(claims, searches, "exercise", lambda _: exercise(job, claims))
    import_dependencies(
        job,
        job["expected"],
        lambda name: claims.write("begin", stage="dependency", module=name),
    )
    claims.write("snapshot", warnings=seen[:100], **snapshot())
    for module in job["extensions"]:
        attempt(claims, searches, "extension", importlib.import_module, module)


def attempt(claims, searches, stage, action, module=""):
    """Claim that a stage begins, and how it ends."""
    del searches.names[:]
    claims.write("begin", stage=stage, module=module)
    try:
        action(module)
    except BaseException as error:
        told, deepest = describe(error, searches.names)
        claims.write("failed", stage=stage, module=module, error=told, deepest=deepest)
    else:
        claims.write("done", stage=stage, module=module)


def exercise(job, claims):
    """Do the exercise, and claim its result as text."""
    claims.write("value", value=result(compile(job["exercise"], "<exercise>", "exec")))


def import_dependencies(job, expected, begin=lambda name: None):
    """Import the modules of other packages that are loaded in the main interpreter and not here.

    An extension module need not import again in a second interpreter what it needs: cffi's do not.
    What can be imported is not lost. What the package itself left out has its reason. ``begin`` is
    called with the name of each before.
    """
    own = {name.partition(".")[0] for name in (*job["modules"], *job["extensions"])}
    for name in expected:
        if name not in sys.modules and name.partition(".")[0] not in own:
            begin(name)
            try:
                importlib.import_module(name)
            except BaseException:
                continue


def describe(error, searched):
    """The message of an exception, and the module whose import failed first.

    An extension module need not say its name: then it is what was searched for last, is not there,
    and is named in the line that the traceback ends with.
    """
    told = short("{}: {}".format(type(error).__name__, error))
    root = error
    for _ in range(20):
        below = root.__cause__ or (None if root.__suppress_context__ else root.__context__)
        if not isinstance(below, ImportError):
            break
        root = below
    if root is not error:
        told = short("{}; because of {}: {}".format(told[:300], type(root).__name__, root))
    deepest, line = "", ""
    trace = root.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        file = trace.tb_frame.f_code.co_filename
        ours = file.startswith("<frozen") or name in (__name__, "importlib")
        if isinstance(name, str) and not ours:
            deepest, line = name, linecache.getline(file, trace.tb_lineno)
        trace = trace.tb_next
    if isinstance(root, ImportError):
        absent = [name for name in searched if name not in sys.modules]
        if isinstance(root.name, str) and root.name:
            deepest = root.name
        elif absent and absent[-1].rpartition(".")[2] in line:
            deepest = absent[-1]
    return told, deepest[:LONGEST]


def snapshot():
    """Which modules are loaded, and what their names say is available."""
    flags, things, nones = {}, [], []
    standard = sys.stdlib_module_names
    loaded = sorted(
        name
        for name in list(sys.modules)
        if isinstance(name, str)
        and name.partition(".")[0] not in standard
        and name not in ("__main__", "exercise")
    )
    there = set(loaded)
    used = [one for one in list(sys.modules) if isinstance(one, str) and one in standard]
    for name in loaded[:MOST]:
        module = sys.modules.get(name)
        if not isinstance(module, types.ModuleType):
            continue
        for key, value in list(vars(module).items()):
            if not isinstance(key, str) or key.startswith("__"):
                continue
            full = "{}.{}".format(name, key)
            if FLAG.fullmatch(key):
                simple = value is None or isinstance(value, (bool, int, str))
                flags[full] = repr(value)[:80] if simple else type(value).__name__
            elif value is None:
                nones.append(full)
            elif isinstance(value, (types.ModuleType, type)):
                things.append(full)
                if isinstance(value, types.ModuleType) and own_name(value) == full:
                    there.add(full)
    return {
        "modules": sorted(there)[:MOST],
        "standard": sorted(used),
        "flags": dict(list(flags.items())[:MOST]),
        "things": things[:MOST],
        "nones": nones[:MOST],
    }


def own_name(module):
    """The name of a module, also of one that is not registered.

    cffi registers some of its modules only in the interpreter that initializes them first.
    """
    try:
        return module.__name__
    except Exception:
        return None


def inside(job, descriptor, interpreter):
    """What is run in each interpreter."""
    claims = Claims(descriptor, interpreter)
    use(job, claims)
    enabled = getattr(sys, "_is_gil_enabled", None)
    if enabled is not None:
        claims.write("gil", gil=enabled())
    if interpreter:
        await_threads(claims, job["patience"])


def await_threads(claims, seconds):
    """Wait for the threads of this interpreter. Claims and raises if some do not end."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    until = time.monotonic() + seconds
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    for one in others:
        one.join(max(0, until - time.monotonic()))
    living = [short(one.name) for one in others if one.is_alive()]
    if living:
        claims.write("threads", modules=living[:MOST])
        raise RuntimeError(THREADS_LEFT)


# --- in Apache -----------------------------------------------------------------------------


def served(job):
    """A WSGI application that has imported all modules of the job, and does the exercise in each
    request.

    What raises is raised. The body of an answer says "works", or what is wrong: "degrades: ...",
    "refuses: ..." or "wrong: ...".
    """
    for module in job["modules"]:
        importlib.import_module(module)
    code = compile(job["exercise"], "<exercise>", "exec")
    result(code)
    import_dependencies(job, job["main"]["modules"])
    wrong = lost(job["main"], snapshot())
    wrong = wrong and "degrades: missing " + ", ".join(wrong[:8])
    for module in job["extensions"]:
        try:
            importlib.import_module(module)
        except BaseException as error:
            told = describe(error, [])[0]
            wrong = wrong or "refuses: {} can't be imported: {}".format(module, told)

    def application(environ, start_response):
        value = result(code)
        body = wrong
        if job["value"] is not None and value != job["value"]:
            body = "wrong: its exercise gives {}, and {} in main".format(value, job["value"])
        body = (body or "works").encode("utf-8", "replace")
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    return application


def result(code):
    """The result of the exercise as text."""
    names = {"__name__": "exercise"}
    exec(code, names)
    return short(repr(names.get("value")))


def lost(main, here):
    """The names of what the main interpreter had and this one lacks, as the judge of an audit finds
    them: modules, or else names that say that something is not there."""
    missing = sorted(set(main["modules"]) - set(here["modules"]))
    false = ("False", "None", "0", "''")
    names = {
        name
        for name, value in main["flags"].items()
        if value not in false and here["flags"].get(name, value) in false
    }
    names |= set(main["things"]) & set(here["nones"])
    tops = [name for name in missing if name.rpartition(".")[0] not in missing]
    return tops + [name for name in sorted(names) if name.rpartition(".")[0] not in missing]


# --- in the main interpreter ---------------------------------------------------------------


class SubInterpreters:
    """Makes, uses and ends interpreters of the kind."""

    def __init__(self, job, descriptor):
        self.job = job
        self.descriptor = descriptor
        self.create, self.run, self.destroy = implementation(job["kind"] == "own-gil")
        with open(__file__) as file:
            self.source = file.read()
        self.busy = []
        """The numbers of those whose threads do not end."""

    def use(self, interpreter, number):
        """Use the modules in an interpreter, with the given number in its claims."""
        # Not as __main__, which would start the whole again.
        code = (
            "import json\nnames = {{'__name__': 'wsgiproof_probe', '__file__': {!r}}}\n"
            "exec(compile({!r}, {!r}, 'exec'), names)\n"
            "names['inside'](json.loads({!r}), {}, {})\n"
        ).format(__file__, self.source, __file__, json.dumps(self.job), self.descriptor, number)
        error = str(self.run(interpreter, code) or "")
        if THREADS_LEFT in error:
            self.busy.append(number)
        elif error:
            Claims(self.descriptor, 0).write(
                "failed", stage="start", module="", error=short(error), deepest=""
            )

    def end(self, interpreter, number):
        Claims(self.descriptor, number).write("begin", stage="ending", module="")
        if number in self.busy:
            # The standard library can't end such an interpreter: Py_EndInterpreter() aborts the
            # process. mod_wsgi ends it in another way.
            os._exit(0)
        self.destroy(interpreter)
        Claims(self.descriptor, number).write("done", stage="ending", module="")


def at_the_same_time(interpreters):
    """Use the modules in two interpreters, one after the other, and then end both."""
    made = {number: interpreters.create() for number in (1, 2)}
    order = [2, 1] if interpreters.job["swap"] else [1, 2]
    for number in order:
        interpreters.use(made[number], number)
    for number in order:
        interpreters.end(made[number], number)


def in_turn(interpreters):
    """Make, use and end interpreters in turn, and claim the memory after each."""
    for _ in range(interpreters.job["in_turn"]):
        interpreter = interpreters.create()
        interpreters.use(interpreter, 1)
        interpreters.end(interpreter, 1)
        Claims(interpreters.descriptor, 0).write("memory", memory=private_memory())


def private_memory():
    """The bytes that are in memory or swapped out, without what is mapped from files."""
    total = 0
    with open("/proc/self/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssShmem", "VmSwap"):
                total += int(value.split()[0]) << 10
    return total


def implementation(own_gil):
    """The functions that make, use and end an interpreter; the second returns an error or None."""
    if sys.version_info >= (3, 13):
        import _interpreters as api

        def create():
            # "legacy" is what Py_NewInterpreter makes, which mod_wsgi calls: one GIL, and no check
            # whether an extension supports several interpreters.
            return api.create("isolated" if own_gil else "legacy")

        def run(interpreter, code):
            error = api.run_string(interpreter, code)
            return getattr(error, "formatted", error)

        return create, run, api.destroy

    import _xxsubinterpreters as api

    def create():
        return api.create(isolated=own_gil)

    def run(interpreter, code):
        try:
            api.run_string(interpreter, code)
        except (api.RunFailedError, RuntimeError) as error:
            return error
        return None

    return create, run, api.destroy


def probe(job):
    """Do the job, and let the process end as it does."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    claimed = os.open("claims", flags, 0o600, dir_fd=DIRECTORY)
    # With its own number, and no way to make other files in the directory.
    os.dup2(claimed, DIRECTORY, inheritable=False)
    os.close(claimed)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    Claims(DIRECTORY, 0).write("begin", stage="start", module="")
    if job["kind"] == "main":
        inside(job, DIRECTORY, 0)
    else:
        use_them = in_turn if job["in_turn"] else at_the_same_time
        use_them(SubInterpreters(job, DIRECTORY))
    Claims(DIRECTORY, 0).write("finished")


# --- the inventory -------------------------------------------------------------------------


def inventory():
    """The installed distributions, what can be imported of each, and a digest of its files."""
    from importlib import metadata

    found = []
    for one in metadata.distributions():
        name, version = one.metadata["Name"], one.version
        if isinstance(name, str) and isinstance(version, str):
            files = [str(path) for path in (one.files or [])[:MOST]]  # each time it is read again
            modules, extensions = importable(files)
            found.append(
                {
                    "name": name,
                    "version": version,
                    "modules": modules,
                    "extensions": extensions,
                    "files": digest(one, files),
                }
            )
    import sysconfig

    with os.fdopen(os.open("claims", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=DIRECTORY), "w") as it:
        json.dump(
            {
                "version": "{}.{}.{}".format(*sys.version_info[:3]),
                "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
                "distributions": found,
            },
            it,
        )


def digest(distribution, files):
    """A digest of the names, sizes and times of these files of it; bytecode is left out."""
    import hashlib

    total = hashlib.sha256()
    for path in sorted(files):
        if not path.endswith(".pyc"):
            try:
                status = os.lstat(distribution.locate_file(path))
            except (OSError, ValueError):
                continue
            seen = "{}\0{}\0{}\0".format(path, status.st_size, status.st_mtime_ns)
            total.update(seen.encode(errors="replace"))
    return total.hexdigest()[:16]


def importable(files):
    """The top-level modules, or what comes next in a namespace package, and the extensions."""
    paths = [path.split("/") for path in files]
    packages = {tuple(path[:-1]) for path in paths if path[-1].partition(".")[0] == "__init__"}
    modules, extensions = set(), set()
    for path in paths:
        *folders, file = path
        if not all(folder.isidentifier() for folder in folders):
            continue
        above = (tuple(folders[:n]) in packages for n in range(1, len(folders)))
        if file.partition(".")[0] == "__init__" and folders and not any(above):
            modules.add(".".join(folders))
        suffix = next((s for s in importlib.machinery.EXTENSION_SUFFIXES if file.endswith(s)), None)
        stem = file[: -len(suffix)] if suffix else file[:-3] if file.endswith(".py") else ""
        if not stem.isidentifier():
            continue
        if suffix:
            extensions.add(".".join(folders if stem == "__init__" else [*folders, stem]))
        if not folders and stem != "__init__":
            modules.add(stem)
    return sorted(modules), sorted(extensions)[:MOST_EXTENSIONS]


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    if sys.argv[2] == "inventory":
        inventory()
    else:
        probe(job)


if __name__ == "__main__":
    main()
