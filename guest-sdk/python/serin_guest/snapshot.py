"""Prepares the interpreter's memory for the copy that every decision starts from. Loaded in the component only.

A decision writes little, but to many pages: each reference that it takes to an object is counted in the object,
each function that it runs counts its runs in its code, and new objects get free blocks wherever old ones were
freed. Each page that is written costs a copy of it. So the build marks the objects that exist as immortal, which
are not counted; it moves the code that decisions run side by side; and it leaves free blocks in one piece only.
"""

import builtins
import gc
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

Modules = list[types.ModuleType]

# Objects of these kinds refer to nothing of an author's, or stay.
_ATOMS = (str, bytes, int, float, complex, types.CodeType, types.BuiltinFunctionType, type, types.ModuleType)
# Of these, something happens when they go.
_ACTIVE = (weakref.ReferenceType, types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
# How the map of objects begins, by which the linker finds it: host/src/cli/merge/lasting.rs.
_NAME = b"serin:lasting-objects"
# A bit of the map stands for so many bytes of memory, and the map for so many in all.
_GRAIN, _REACH = 8, 16 << 20
# Bytes that are free in one piece for what a decision makes.
_ROOM = 1 << 20
# What the allocator adds to a block, and what `bytes` adds to its content.
_ADDED, _HEAD = 4, 17
# So often a function runs until the interpreter has adapted its code.
ROUNDS = 8
# It keeps fewer objects of a kind at hand for the next.
_AT_HAND = 100


class _Map:
    """A bit for each place in memory where an object may begin."""

    def __init__(self) -> None:
        self.bits = bytearray(_REACH // _GRAIN // 8)

    def find(self, thing: object) -> tuple[int, int]:
        place = id(thing) // _GRAIN
        return place >> 3, 1 << (place & 7)

    def fits(self, thing: object) -> bool:
        """What does not fit is part of the interpreter, and immortal already, or lies too far behind."""
        return id(thing) % _GRAIN == 0 and id(thing) < _REACH

    def has(self, thing: object) -> bool:
        if not self.fits(thing):
            return False
        byte, bit = self.find(thing)
        return bool(self.bits[byte] & bit)

    def add(self, thing: object) -> None:
        byte, bit = self.find(thing)
        self.bits[byte] |= bit

    def remove(self, thing: object) -> None:
        byte, bit = self.find(thing)
        self.bits[byte] &= ~bit

    def encoded(self) -> bytes:
        count = sum(byte.bit_count() for byte in self.bits)
        return b"".join([_NAME, len(self.bits).to_bytes(4, "little"), count.to_bytes(4, "little"), self.bits])


def _referents(thing: Any) -> list[Any]:
    if isinstance(thing, types.CodeType):
        return [
            *(thing.co_consts, thing.co_names, thing.co_varnames, thing.co_filename, thing.co_name),
            *(thing.co_qualname, thing.co_linetable, thing.co_exceptiontable),
        ]
    return gc.get_referents(thing)


def lasting(authors: Modules) -> bytes:
    """A map of the objects that may become immortal.

    An author's own objects may do something when they go, and so may what refers to them: these are left out.
    """
    known, marked = _Map(), _Map()
    names = {module.__name__ for module in authors}
    # Modules and classes stay, and with them their names.
    spaces = [vars(module) for module in sys.modules.values()]
    stay = set(map(id, spaces))
    may_go: list[Any] = []
    pending: list[Any] = [sys.modules, builtins, *spaces]
    while pending:
        thing = pending.pop()
        kind = type(thing)
        if isinstance(thing, type):
            # A built-in one does not tell of its dictionary.
            space = gc.get_referents(vars(thing))
            stay.update(map(id, space))
            pending += [names for names in space if not known.has(names)]
        if not known.fits(thing) or known.has(thing):
            continue
        known.add(thing)
        pending += _referents(thing)
        if kind.__module__ not in names and not hasattr(kind, "__del__") and not isinstance(thing, _ACTIVE):
            marked.add(thing)
            if not isinstance(thing, _ATOMS) and id(thing) not in stay:
                may_go.append(thing)
    _leave_out(may_go, marked)
    return marked.encoded()


def _leave_out(things: list[Any], marked: _Map) -> None:
    """Removes what refers to something that is left out, until nothing does."""
    changes = True
    while changes:
        changes = False
        for thing in things:
            if marked.has(thing) and any(marked.fits(other) and not marked.has(other) for other in _referents(thing)):
                marked.remove(thing)
                changes = True


def fence() -> list[object]:
    """Fills the free blocks between what exists. What is made later gets blocks side by side, behind all of it.

    The blocks are the caller's to keep.
    """
    room = bytes(_ROOM)
    filled: list[object] = []
    highest = max(map(id, gc.get_objects()))
    while id(room) < highest:
        # It is between others, in a block that was free.
        filled.append(room)
        room = bytes(_ROOM)
    for size in [*(1 << n for n in range(16, 10, -1)), *range(1024, 16, -16)]:
        while True:
            block: object = bytes(size - _ADDED - _HEAD)
            if id(block) > id(room):
                break
            filled.append(block)
    while True:
        # The smallest block that there is.
        block = object()
        if id(block) > id(room):
            return filled
        filled.append(block)


def _used_up() -> list[object]:
    """The objects that the interpreter has at hand for the next of their kind, wherever they lie."""
    kept: list[object] = []
    for number in range(_AT_HAND):
        kept += [[], {}, number + 0.5, (number + 1) << 40]
        kept += [tuple([kept] * length) for length in range(1, 20)]
    return kept


def _code_of(rehearse: Callable[[], None]) -> set[types.CodeType]:
    """The code that runs in it."""
    ran: set[types.CodeType] = set()
    sys.setprofile(lambda frame, event, argument: ran.add(frame.f_code))
    rehearse()
    sys.setprofile(None)
    return ran


def _functions(modules: Modules) -> Iterable[types.FunctionType]:
    """The functions that ``modules`` define, those of their classes among them; each once."""
    names = {module.__name__ for module in modules}
    seen: set[int] = set()
    pending: list[Any] = [value for module in modules for value in vars(module).values()]
    while pending:
        thing = pending.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, types.FunctionType) and thing.__module__ in names:
            yield thing
        elif isinstance(thing, type) and thing.__module__ in names:
            pending += vars(thing).values()
        elif isinstance(thing, (staticmethod, classmethod)):
            pending.append(thing.__func__)
        elif isinstance(thing, property):
            pending += [thing.fget, thing.fset, thing.fdel]


def _copied(code: types.CodeType) -> types.CodeType:
    constants = tuple([_copied(value) if isinstance(value, types.CodeType) else value for value in code.co_consts])
    return code.replace(co_consts=constants)


def _move(functions: Iterable[types.FunctionType]) -> list[types.CodeType]:
    """Gives functions copies of their code. What they had is the caller's to keep: it is in the map."""
    replaced = []
    for function in functions:
        replaced.append(function.__code__)
        function.__code__ = _copied(function.__code__)
    return replaced


def prepare(rehearse: Callable[[], None], sdk: Modules, authors: Modules, packages: Modules, last: Any) -> object:
    """Does all of it. What it returns is to be kept.

    ``rehearse`` runs what every decision runs of the ``sdk``, but for the function ``last``. Nothing of the
    author's runs.
    """
    # A run is one decision on a fresh copy of this memory: nothing is ever worth collecting, and a collection would
    # write to all of it.
    gc.collect()
    gc.disable()
    ran = _code_of(rehearse) | {last.__code__}
    marked = lasting([*authors, *packages])
    # The interpreter's cache of names has the last reference to some, which a decision would free.
    getattr(sys, "_clear_internal_caches")()
    gc.collect()
    filled = fence()
    gc.freeze()
    moved = [*(function for function in _functions(sdk) if function.__code__ in ran), *_functions(authors)]
    replaced = _move(moved)
    for _ in range(ROUNDS):
        rehearse()
    # What would be freed from here on would be where the next objects of its kind go.
    return marked, filled, ran, sdk, authors, packages, moved, replaced, _used_up()
