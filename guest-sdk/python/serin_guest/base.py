"""The entry of a component that has no strategy yet, for drafts. Loaded in the component only.

The interpreter in it has started already. The host's part (`host/src/cli/draft/`) calls `decide` with each of the
strategy's files as the decision point, and once more to load them. The memory that this leaves is the memory of the
strategy's component: none of the interpreter is compiled or started again.

What a draft loads is what a build would load. Wherever that is not certain, there is no draft: see `_Files.leave_out`.
"""

import builtins
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec
from types import ModuleType
from typing import Any

from . import absent  # First, as in `entry`.

import wit_world
import componentize_py_types  # noqa: F401
from componentize_py_types import Err
from wit_world.imports import log as host_log  # noqa: F401
from wit_world.imports import types as host_types

from . import asked, boundary, log, models, output, snapshot  # noqa: F401

# What only this module needs, a strategy shall find as if it were not there.
_before = set(sys.modules)
import base64

from . import library

_OWN = set(sys.modules) - _before

# Whose mistake it was, as `host/src/cli/draft/mod.rs` knows it.
_AUTHORS, _UNSURE = 0, 1
_ROOTS = ("/python", "/0", "/1")
"""The standard library's files, the author's and the packages': in this order a build looks for modules, too."""


class _Reader:
    """What makes a context of what the host sent: of a strategy its own reader, and before there is one the text."""

    def __init__(self) -> None:
        self.read: Any = lambda text, *_: text

    def __call__(self, *sent: Any) -> Any:
        return self.read(*sent)


_reader = _Reader()
_boundary = boundary.Boundary(host_types, _reader)


def _of_the_strategy(_: ModuleType, read: Any) -> boundary.Boundary:
    """The boundary once more, for `entry`: componentize-py has looked up the first one's classes."""
    _reader.read = read
    return _boundary


class _LeftOut(BaseException):
    """A build has it, or may have it, and a draft was not given it."""


class _File(io.BytesIO):
    """A file that is open for reading."""

    name: str


class _Files:
    """Loads modules from texts in memory: the sandbox has no files. What is there has no text where it was left out."""

    def __init__(self) -> None:
        self.files: dict[str, str | None] = {}
        self.folders: set[str] = set()
        self.left_out: list[str] = []

    def take(self, text: str) -> None:
        """Takes a file: its path, and in the lines behind it what is in it."""
        path, line, rest = text.partition("\n")
        self.files[path] = rest if line else None
        folder = path.rpartition("/")[0]
        while folder:
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]

    def leave_out(self, what: str, *_: Any, **__: Any) -> Any:
        """Ends the draft, also where the strategy catches this: it would take for missing what a build has."""
        self.left_out.append(what)
        raise _LeftOut(what)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        last = name.rpartition(".")[2]
        portions = []
        for root in _ROOTS if path is None else path:
            place = f"{root}/{last}"
            for file, is_package in [(f"{place}/__init__.py", True), (f"{place}.py", False)]:
                if file in self.files:
                    if self.files[file] is None:
                        self.leave_out(f"the module {name}")
                    spec = ModuleSpec(name, self, origin=file, is_package=is_package)  # type: ignore[arg-type]
                    spec.has_location = True
                    if is_package:
                        spec.submodule_search_locations = [place]
                    return spec
            if place in self.folders:
                portions.append(place)
        if not portions:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = portions
        return spec

    def find_distributions(self, context: Any = None) -> Any:
        self.leave_out("what is known of packages")

    def invalidate_caches(self) -> None:
        pass

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        path = str(module.__file__)
        code = compile(self.get_data(path), path, "exec", dont_inherit=True)
        if not path.startswith("/0/"):
            # Once is enough, and its memory is free for others.
            self.files[path] = None
        exec(code, vars(module))

    def get_source(self, name: str) -> None:
        """A build's tracebacks have no lines of source in a decision, either."""

    def get_resource_reader(self, name: str) -> Any:
        self.leave_out(f"the files of {name}")

    def get_data(self, path: str) -> bytes:
        text = self.files.get(path)
        if text is None:
            self.leave_out(f"the file {path}")
            raise AssertionError
        return base64.b64decode(text[1:]) if text.startswith("\0") else text.encode()

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **_: Any,
    ) -> Any:
        path = "" if isinstance(file, int) else os.path.normpath(os.fspath(file))
        if set(mode) - set("rbt"):
            self.leave_out(f"the file {file}, to write to it")
        data = _File(self.get_data(path))
        data.name = path
        return data if "b" in mode else io.TextIOWrapper(data, encoding or "utf-8", errors, newline)


def _prepare(rehearse: Any, *_: object) -> None:
    """In the place of `snapshot.prepare`, which takes seconds: a draft's decisions may take longer."""
    gc.collect()
    gc.disable()
    for _round in range(snapshot.ROUNDS):
        rehearse()
    gc.freeze()


def _load(files: _Files) -> None:
    """Loads a strategy as the component's build does: `entry` runs as it is."""
    exec(files.get_data("/0/serin_guest/asked.py"), vars(asked))
    # `entry` closes them.
    builtins.open = io.open = files.open  # type: ignore[assignment]
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, files]
    if asked.DATES:
        getattr(absent, "_close_dates")()
    setattr(boundary, "Boundary", _of_the_strategy)
    setattr(snapshot, "prepare", _prepare)
    for name in _OWN:
        del sys.modules[name]
    from . import entry

    entry.WitWorld()
    if files.left_out:
        raise _LeftOut(files.left_out[0])
    # Nothing is read any more, and what was read takes memory.
    files.files.clear()
    WitWorld.decide = entry.WitWorld.decide  # type: ignore[method-assign]


def _told(error: BaseException, files: _Files) -> str | None:
    """The error as Python tells it, without the frames that say nothing to the author; none where it may be another
    in a build, or where there is more to tell."""
    may_be_ours = isinstance(error, (ImportError, OSError, MemoryError, RecursionError)) or not isinstance(error, Exception)
    has_more = error.__cause__ or error.__context__ or hasattr(error, "__notes__")
    lines = ["Traceback (most recent call last):"]
    at, is_authors = error.__traceback__, False
    while at is not None:
        code = at.tb_frame.f_code
        file = code.co_filename
        is_authors = file.startswith(("/0/", "/1/")) and not file.startswith("/0/serin_guest/")
        if is_authors:
            lines.append(f'  File "{file}", line {at.tb_lineno}, in {code.co_name}')
            text = files.files.get(file) or ""
            source = [] if text.startswith("\0") else text.splitlines()[at.tb_lineno - 1 : at.tb_lineno]
            lines += [f"    {line.strip()}" for line in source]
        at = at.tb_next
    if may_be_ours or has_more or files.left_out or not is_authors:
        return None
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])


_files = _Files()


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """What the host calls: with files, with nothing to load the strategy, and from then on for its decisions."""

    def decide(self, context: Any) -> Any:
        if context:
            _files.take(context)
            return host_types.Decision([])
        try:
            _load(_files)
        except BaseException as error:
            told = _told(error, _files)
            if told is not None:
                raise Err(host_types.Refusal(_AUTHORS, told)) from None
            what = _files.left_out[0] if _files.left_out else f"{type(error).__name__}: {error}"
            raise Err(host_types.Refusal(_UNSURE, what)) from None
        return host_types.Decision([])


library.write("/0/library", sorted(_before))
