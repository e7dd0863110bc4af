"""Compiled functions whose compiled code on disk goes stale with any function or constant that they use.

numba keeps compiled code beside the source and asks, before it loads it, whether the file of that one function is the
same. What it calls from other files is compiled into it, and so are global constants: after an upgrade that changes
only those, the old code would go on running, silently. `kernel` adds to numba's key a digest of all that a function
means:

    bytecode, constants, values of the globals it names, and the same of every function among them ──blake2b──> key

The digest is made when code is loaded or compiled, since a function may call one that stands below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile with numba when first called, without the interpreter's lock, and keep the code on disk."""
    return _cached(function, njit(nogil=True)(function))


def inline_kernel(function: Function) -> Function:
    """The same for a small function whose body is put into those that call it."""
    return _cached(function, njit(nogil=True, inline="always")(function))


def _cached(function: Function, dispatcher: Any) -> Function:
    make_cache: Any = _MeaningCache
    dispatcher._cache = make_cache(function)  # what numba's enable_caching does
    return cast(Function, dispatcher)


class _MeaningCache(FunctionCache):
    """numba's cache of one function, its code found by what the function means."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        own: Any = super()
        return (*own._index_key(sig, codegen), meaning(self._py_func))


def meaning(function: FunctionType) -> str:
    """A digest of a function and of all functions and constants that it uses, directly or not."""
    digest = blake2b(digest_size=16)
    for part in _parts(function, set()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parts(function: FunctionType, seen: set[FunctionType]) -> Iterator[bytes]:
    if function in seen:
        return
    seen.add(function)
    for code in _codes(function.__code__):
        yield code.co_code
        for constant in code.co_consts:
            if not isinstance(constant, CodeType):
                ordered = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
                yield repr(ordered).encode()
        for name in code.co_names:
            yield name.encode()
            yield from _value_parts(function.__globals__.get(name), seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's bytecode and that of what is written inside it (comprehensions)."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _value_parts(value: Any, seen: set[FunctionType]) -> Iterator[bytes]:
    """What a global stands for in compiled code; modules and types are known by their names."""
    inner = getattr(value, "py_func", value)
    if isinstance(inner, FunctionType):
        yield from _parts(inner, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode() + value.tobytes()
    elif isinstance(value, (ModuleType, type)):
        yield value.__name__.encode()
    else:
        yield repr(value).encode()
