# SPDX-License-Identifier: Apache-2.0
"""Notes what a service does: its layers at work, and its waits for others.

``experiments/routing/sitecustomize.py`` starts it in every service of a run
that asks for it. One file a process gets a JSON list a line:

* ``["samples", until, {layer: samples}]``: once a second, how often a thread
  was found at work in a layer;
* ``[kind, begin, end, request, label, detail, thread]``: a trip to a store, a
  request or a message that is answered. ``request`` is the id of the request
  to Nova's API for which that is done, or None.

Times are those of CLOCK_MONOTONIC, which all processes share.

A thread counts as at work if it runs, or waits for the interpreter's lock.
That is looked up in /proc, for a stack alone does not tell it. The interpreter
is told to change threads often: else a sample would be taken where a thread
gives up its lock by itself, which is where it waits.
"""

import _thread
import importlib.abc
import importlib.util
import json
import os
import sys
import time

from experiments import layers

# As they are before eventlet replaces them.
_sleep = time.sleep
_start_thread = _thread.start_new_thread
_INTERVAL_S = 0.01
_SWITCH_S = 0.0005
_WRITE_S = 1.0
_DEPTH = 80
#: Files whose innermost frames wait for another thread, not for the lock.
_WAITING = ("threading.py", "queue.py", "selectors.py", "socketserver.py",
            "tracer.py")
#: Files of the native functions that only call them.
_FRAMES = ("native.py", "session.py", "dispatch.py")
_layers = {}


class _Writer:
    """The file of this process."""

    def __init__(self, directory):
        self._directory = directory
        self._pid = None

    def write(self, entry):
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._file = os.open(os.path.join(
                self._directory, "%d.trace" % self._pid),
                os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def _layer_of(code):
    """Return the layer of a piece of code, or None."""
    if code not in _layers:
        _layers[code] = layers.layer_of(code.co_filename)
    return _layers[code]


def _layer_at(frame):
    """Return the layer that a stack is at work in."""
    for _turn in range(_DEPTH):
        if frame is None:
            break
        found = _layer_of(frame.f_code)
        if found is not None:
            return found
        frame = frame.f_back
    return layers.OTHER


def _read(path):
    with open(path) as stream:
        return stream.read()


def _is_at_work(thread_id, frame):
    """Tell whether a thread runs, or waits for the interpreter's lock."""
    task = "/proc/self/task/%d/" % thread_id
    try:
        if _read(task + "stat").rpartition(")")[2].split()[0] == "R":
            return True
        return _read(task + "wchan").startswith("futex") and (
            os.path.basename(frame.f_code.co_filename) not in _WAITING)
    except OSError:  # It has just ended.
        return False


def _sample(counts):
    """Count the layers of all threads that are at work."""
    threads = sys.modules.get("threading")
    known = dict(getattr(threads, "_active", ()))
    me = _thread.get_ident()
    for ident, frame in sys._current_frames().items():
        native = getattr(known.get(ident), "native_id", None)
        if ident == me or native is None or not _is_at_work(native, frame):
            continue
        layer = _layer_at(frame)
        counts[layer] = counts.get(layer, 0) + 1


def _run(writer):
    counts, due = {}, time.monotonic() + _WRITE_S
    while True:
        _sleep(_INTERVAL_S)
        _sample(counts)
        now = time.monotonic()
        if now > due:
            if counts:
                writer.write(["samples", now, counts])
            counts, due = {}, now + _WRITE_S


# What is noted ---------------------------------------------------------------

def _request():
    """Return the id of the API's request that this thread works for."""
    module = sys.modules.get("oslo_context.context")
    context = module and module.get_current()
    return context and (getattr(context, "global_request_id", None)
                        or context.request_id)


def _name(frame):
    return "%s.%s" % (
        os.path.basename(frame.f_code.co_filename)[:-3],
        frame.f_code.co_qualname.rpartition("<locals>.")[2])


def _caller():
    """Return who asks the store: the innermost function that is not ours.

    With it goes the outermost of ours that was called by that.
    """
    frame, ours = sys._getframe(2), ""
    while frame is not None:
        layer = _layer_of(frame.f_code)
        if layer == "KVS: native functions":
            if not frame.f_code.co_filename.endswith(_FRAMES):
                ours = " > " + _name(frame)
        elif layer is not None and not layer.startswith((
                "KVS", "SQLAlchemy", "Routing")):
            return _name(frame) + ours
        frame = frame.f_back
    return ours


def _timed(writer, function, describe):
    """Return a function that notes each call.

    :param describe: function of its arguments that returns the kind, the
        request, the label and a detail.
    """
    def call(*args, **kwargs):
        kind, request, label, detail = describe(*args, **kwargs)
        begin = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            writer.write([kind, begin, time.monotonic(), request, label,
                          detail, _thread.get_ident()])
    return call


def _trip(items, *_args, **_kwargs):
    kinds = {}
    for item in items:
        name = type(item).__name__
        kinds[name] = kinds.get(name, 0) + 1
    return "trip", _request(), _caller(), " ".join(
        name if count == 1 else "%s*%d" % (name, count)
        for name, count in kinds.items())


def _message(_dispatcher, incoming, *_args):
    message = incoming.message
    arguments = message.get("args", {})
    name = message.get("method")
    if "objmethod" in arguments:
        name = "%s.%s" % (arguments.get("objname", getattr(
            arguments.get("objinst"), "get", lambda _name, _or: "")(
                "nova_object.name", "")), arguments["objmethod"])
    found = incoming.ctxt
    return ("message", found.get("global_request_id")
            or found.get("request_id"), name, "")


def _answer(_application, environ, *_args):
    environ = getattr(environ, "environ", environ)
    return ("request", environ.get("HTTP_X_OPENSTACK_REQUEST_ID")
            or _request(), "%s %s" % (
                environ["REQUEST_METHOD"],
                environ["SCRIPT_NAME"] + environ["PATH_INFO"]), "")


def _watch_database(writer, module):
    own = module.Database.__init__

    def begin(database, store, *args, **kwargs):
        if not hasattr(store, "kvs_is_traced"):
            store.kvs_is_traced = True
            store.batch = _timed(writer, store.batch, _trip)
        own(database, store, *args, **kwargs)

    module.Database.__init__ = begin


def _watching(name, attribute, describe):
    def watch(writer, module):
        owner = getattr(module, name)
        own = vars(owner)[attribute]
        # It may be an object of webob's, which has to be bound.
        setattr(owner, attribute, _timed(
            writer, lambda one, *args: own.__get__(one, owner)(*args),
            describe))
    return watch


#: Module -> what to do to it once it is there.
_HOOKS = {
    "nova_kvs.record.database": _watch_database,
    "oslo_messaging.rpc.dispatcher": _watching(
        "RPCDispatcher", "dispatch", _message),
    "nova.api.openstack.wsgi": _watching("Resource", "__call__", _answer),
    "placement.requestlog": _watching("RequestLog", "__call__", _answer),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Looks out for the modules of ``_HOOKS``."""

    def __init__(self, writer):
        self._writer = writer
        self._left = dict(_HOOKS)

    def find_spec(self, name, path, target=None):
        hook = self._left.pop(name, None)
        spec = hook and importlib.util.find_spec(name)
        if spec:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                hook(self._writer, module)

            spec.loader.exec_module = exec_module
        return spec


def start(directory):
    """Note what this process, and its children, do from now on."""
    writer = _Writer(directory)
    sys.meta_path.insert(0, _Finder(writer))
    sys.setswitchinterval(_SWITCH_S)

    def sample():
        _start_thread(_run, (writer,))

    os.register_at_fork(after_in_child=sample)
    sample()
