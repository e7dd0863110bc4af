"""A hash table from words to numbers, for kernels: open addressing over one array, long words in an arena.

    slots (capacity, 3) uint64: two words of key, one of value;  arena uint8: 4 bytes of length, then the bytes

A word of up to 15 bytes is its own key: the bytes, and its length in the last one. The key of a longer one is a hash
and, under the mark 255, where the arena has it; bytes are compared, so no two words are ever taken for one. A slot
whose second word is 0 is free. Most words of a text are short, and found in one place of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from rbt.kernels import inline_kernel, kernel

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
INLINE_BYTES = 15
SLOT_BYTES = 24
LENGTH_BYTES = 4
FULLEST = 0.625  # share of the slots in use, above which looking takes too long
_LONG = np.uint64(255)
_TOP = np.uint64(56)
_PLACE = np.uint64((1 << 56) - 1)
_BYTE = np.uint64(8)
_ALL = np.uint64((1 << 64) - 1)
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


@intrinsic
def _load_word(typing_context: Any, data: Any, place: Any) -> Any:
    """Eight bytes of a uint8 array from `place` on as one uint64, first byte lowest (all machines numba knows)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = ir.IntType(64)
        return builder.load(builder.bitcast(pointer, word.as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


_load: Any = _load_word  # called in kernels without the typing context


@inline_kernel
def short_key(data: Any, start: Any, stop: Any) -> Any:
    """The two words of key of a word of 1 to 15 bytes."""
    length = np.int64(stop - start)
    if start + 16 <= len(data):
        low, high = _load(data, np.int64(start)), _load(data, np.int64(start + 8))
        if length <= 8:
            low = low & (_ALL >> np.uint64(64 - 8 * length))
            high = np.uint64(0)
        else:
            high = high & (_ALL >> np.uint64(128 - 8 * length))
    else:  # eight bytes at a time would go beyond the buffer
        low, high = np.uint64(0), np.uint64(0)
        for offset in range(length - 1, -1, -1):
            high = (high << _BYTE) | (low >> _TOP)
            low = (low << _BYTE) | np.uint64(data[start + offset])
    return low, high | (np.uint64(length) << _TOP)


@inline_kernel
def mixed(low: Any, high: Any) -> Any:
    """A hash of a key, uint64, good in its low bits."""
    state = (low ^ (high * _SECOND)) * _FIRST
    state = (state ^ (state >> _SHIFT)) * _SECOND
    return state ^ (state >> _SHIFT)


@kernel
def _long_hash(data: UInt8, start: int, stop: int) -> np.uint64:
    state = np.uint64(stop - start) * _FIRST
    for place in range(start, stop):
        state = (state ^ np.uint64(data[place])) * _SECOND
        state ^= state >> _SHIFT
    return state


@inline_kernel
def find_short(low: Any, high: Any, slots: Any) -> Any:
    """Slot of a short word's key, or of the free slot where it would go."""
    mask = np.int64(len(slots) - 1)
    slot = np.int64(mixed(low, high)) & mask
    while slots[slot, 1] != 0 and (slots[slot, 0] != low or slots[slot, 1] != high):
        slot = (slot + 1) & mask
    return slot


@kernel
def find_long(data: UInt8, start: int, stop: int, slots: UInt64, arena: UInt8) -> int:
    """Slot of the word data[start:stop] of more than 15 bytes, or of the free slot where it would go."""
    mask = len(slots) - 1
    hash = _long_hash(data, start, stop)
    slot = int(np.int64(mixed(hash, _LONG)) & mask)
    while slots[slot, 1] != 0:
        is_alike = slots[slot, 0] == hash and slots[slot, 1] >> _TOP == _LONG
        if is_alike and _is_stored(data, start, stop, arena, np.int64(slots[slot, 1] & _PLACE)):
            return slot
        slot = (slot + 1) & mask
    return slot


@kernel
def _is_stored(data: UInt8, start: int, stop: int, arena: UInt8, place: Any) -> bool:
    if stored_length(arena, place) != stop - start:
        return False
    place += LENGTH_BYTES
    same = 0
    while same < stop - start and arena[place + same] == data[start + same]:
        same += 1
    return same == stop - start


@kernel
def store_long(data: UInt8, start: int, stop: int, arena: UInt8, place: int, slots: UInt64, slot: int) -> int:
    """Put a long word into the arena at `place` and its key into a free slot; the place behind it."""
    slots[slot, 0] = _long_hash(data, start, stop)
    slots[slot, 1] = (_LONG << _TOP) | np.uint64(place)
    for byte in range(LENGTH_BYTES):
        arena[place + byte] = ((stop - start) >> (8 * byte)) & 0xFF
    place += LENGTH_BYTES
    arena[place : place + stop - start] = data[start:stop]
    return place + stop - start


@inline_kernel
def stored_length(arena: Any, place: Any) -> Any:
    """Length of the word that the arena has at `place`."""
    length = np.int64(0)
    for byte in range(LENGTH_BYTES):
        length |= np.int64(arena[place + byte]) << (8 * byte)
    return length


@kernel
def move_slots(old: UInt64, new: UInt64) -> None:
    """Put all entries of one table into another that is empty and larger; the arena stays as it is."""
    mask = np.int64(len(new) - 1)
    for entry in range(len(old)):
        low, high = old[entry, 0], old[entry, 1]
        if high == 0:
            continue
        slot = np.int64(mixed(low, _LONG if high >> _TOP == _LONG else high)) & mask
        while new[slot, 1] != 0:
            slot = (slot + 1) & mask
        new[slot] = old[entry]


@kernel
def stored_words(slots: UInt64, arena: UInt8) -> tuple[UInt8, Int64, Int64]:
    """All entries: (bytes of the words, one behind the other, uint8; their ends, int64; their values, int64)."""
    count = 0
    size: Any = np.int64(0)
    for slot in range(len(slots)):
        high = slots[slot, 1]
        if high != 0:
            count += 1
            size += stored_length(arena, np.int64(high & _PLACE)) if high >> _TOP == _LONG else np.int64(high >> _TOP)
    data, ends = np.empty(size, dtype=np.uint8), np.empty(count, dtype=np.int64)
    values = np.empty(count, dtype=np.int64)
    count = place = 0
    for slot in range(len(slots)):
        low, high = slots[slot, 0], slots[slot, 1]
        length: Any = np.int64(0)
        if high == 0:
            continue
        if high >> _TOP == _LONG:
            start = np.int64(high & _PLACE)
            length = stored_length(arena, start)
            data[place : place + length] = arena[start + LENGTH_BYTES : start + LENGTH_BYTES + length]
        else:
            length = np.int64(high >> _TOP)
            for offset in range(length):
                word, byte = (low, offset) if offset < 8 else (high, offset - 8)
                data[place + offset] = (word >> np.uint64(8 * byte)) & np.uint64(0xFF)
        place += length
        ends[count], values[count] = place, slots[slot, 2]
        count += 1
    return data, ends, values
