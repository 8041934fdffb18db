"""libcohort from Python, for engines (include/cohort/engine.h): any command, and its reply as resp.py has it.

    with engines.Engine("file:///tmp/x") as engine:
        token, left_ms = engine.call("LOCK.ACQUIRE", "a", "me", "PX", 1000)"""

import ctypes
import os
import pathlib
import sys

import resp
import servers

CAN = ["LOCK", "SHARE", "PERMITS", "QUEUE", "FENCE", "ELECT", "LOOK", "SURVIVE", "ALL", "PROCESSES"]  # bits of cohort_can
OK, UNCERTAIN, INVALID, UNSUPPORTED = 0, -4, -11, -26
MORE_MS = 20_000
NIL, STRING, INTEGER, DOUBLE, ARRAY, MAP, ERROR = range(7)


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Call(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint), ("timeout_ms", ctypes.c_int64), ("key", Bytes)]


def begin_with_sanitizer(path):
    """What was built with AddressSanitizer wants the sanitizer's library to be the first of its process. A test's own process
    was begun so (dev: sanitized_system_tests); one that a test started begins anew. What it starts is as it was."""
    if not servers.is_sanitized(path):
        return
    if "pytest" in sys.modules:
        there = "libasan" in pathlib.Path("/proc/self/maps").read_text()
        assert there, "LD_PRELOAD has to name the sanitizer's library, as `./dev check` does it"
    elif "detect_leaks=0" not in os.environ.get("ASAN_OPTIONS", ""):
        others = os.environ.get("LD_PRELOAD", "")
        os.environ.update(LD_PRELOAD=f"{servers.sanitizer()}:{others}", ASAN_OPTIONS="detect_leaks=0")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    servers.forget_sanitizer()


def load():
    path = servers.BUILD / "src" / "engine" / "libcohort.so.0"
    begin_with_sanitizer(path)
    library = ctypes.CDLL(str(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, *arguments in [
        ("cohort_open", ctypes.c_int, ctypes.c_char_p, pointer, pointer, pointer),
        ("cohort_close", None, pointer),
        ("cohort_can", ctypes.c_uint, pointer),
        ("cohort_command", ctypes.c_int, pointer, size, pointer, pointer, pointer),
        ("cohort_reply_type", ctypes.c_int, pointer),
        ("cohort_reply_bytes", Bytes, pointer),
        ("cohort_reply_integer", ctypes.c_int64, pointer),
        ("cohort_reply_count", size, pointer),
        ("cohort_reply_at", pointer, pointer, size),
        ("cohort_reply_free", None, pointer),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


LIBRARY = load()


def text_of(reply):
    found = LIBRARY.cohort_reply_bytes(reply)
    return ctypes.string_at(ctypes.c_void_p.from_buffer(found).value, found.size) if found.size else b""


def value_of(reply):
    kind = LIBRARY.cohort_reply_type(reply)
    if kind == NIL:
        return None
    if kind == INTEGER:
        return LIBRARY.cohort_reply_integer(reply)
    if kind == ERROR:
        return resp.Error(text_of(reply).decode(errors="replace"))
    if kind in (ARRAY, MAP):
        parts = [value_of(LIBRARY.cohort_reply_at(reply, i)) for i in range(LIBRARY.cohort_reply_count(reply))]
        return parts if kind == ARRAY else resp.Map(zip(parts[::2], parts[1::2], strict=True))
    return text_of(reply)


class Refused(Exception):
    """cohort_open's status and words."""

    def __init__(self, status, words):
        super().__init__(f"{status}: {words}")
        self.status, self.words = status, words


class Engine:
    """A handle. Its calls may come from many threads."""

    def __init__(self, url):
        self.handle, reply = ctypes.c_void_p(), ctypes.c_void_p()
        status = LIBRARY.cohort_open(url.encode(), None, ctypes.byref(self.handle), ctypes.byref(reply))
        words = text_of(reply).decode()
        LIBRARY.cohort_reply_free(reply)
        if status != OK:
            raise Refused(status, words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        LIBRARY.cohort_close(self.handle)
        self.handle = None

    def can(self, name):
        return bool(LIBRARY.cohort_can(self.handle) >> CAN.index(name) & 1)

    def call(self, *words, timeout_ms=0):
        return self.ask(*words, timeout_ms=timeout_ms)[1]

    def ask(self, *words, timeout_ms=0):
        """(status, reply). Who says WAIT has that time, and some more: a handle's own limit would end it before (5 s)."""
        if "WAIT" in words and timeout_ms == 0:
            timeout_ms = int(words[words.index("WAIT") + 1]) + MORE_MS
        texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        argv = (Bytes * len(texts))(*[Bytes(text, len(text)) for text in texts])
        how, reply = Call(ctypes.sizeof(Call), 0, timeout_ms, Bytes(None, 0)), ctypes.c_void_p()
        status = LIBRARY.cohort_command(self.handle, len(texts), argv, ctypes.byref(how), ctypes.byref(reply))
        value = value_of(reply)
        LIBRARY.cohort_reply_free(reply)
        return status, value
