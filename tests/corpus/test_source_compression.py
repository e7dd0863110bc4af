"""Compressed streams, whole, cut and damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream, decompressed, open_raw, without_compression
from rbt.errors import InputError
from rbt.storage import hash_file

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def words(seed: int, size: int) -> bytes:
    """Text that compresses about as text does."""
    letters = random.Random(seed).choices(b"abcdefghij ", k=min(size, 50_000))
    return (bytes(letters) * (size // 50_000 + 1))[:size]


def pieces(raw: bytes, suffix: str, begins: bytes = b"") -> tuple[bytes, list[Damage]]:
    """All bytes and all damages."""
    found = list(decompressed(io.BytesIO(raw), f"file{suffix}", begins))
    data = b"".join(piece for piece in found if isinstance(piece, bytes))
    return data, [piece for piece in found if isinstance(piece, Damage)]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_members_one_behind_the_other_are_one_stream(suffix: str) -> None:
    """Of any size, each compression."""
    parts = [words(seed, size) for seed, size in enumerate((1, 70_000, 300_000, 17))]
    data, damages = pieces(b"".join(map(COMPRESS[suffix], parts)), suffix)
    assert data == b"".join(parts)
    assert damages == []


@pytest.mark.parametrize("suffix", COMPRESS)
def test_zero_bytes_between_and_behind_members_are_padding(suffix: str) -> None:
    """As tapes leave them."""
    raw = COMPRESS[suffix](b"one ") + b"\0" * 512 + COMPRESS[suffix](b"two") + b"\0" * 100_000
    assert pieces(raw, suffix) == (b"one two", [])


@pytest.mark.parametrize("suffix", COMPRESS)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_gives_a_prefix_and_says_that_it_is_cut(suffix: str, share: float) -> None:
    """Wherever it is cut."""
    text = words(7, 400_000)
    raw = COMPRESS[suffix](text)
    data, damages = pieces(raw[: int(share * len(raw))], suffix)
    assert text.startswith(data)
    assert len(damages) == 1
    if suffix == ".gz" and share > 0.1:
        assert len(data) > (share - 0.05) * len(text)


@pytest.mark.parametrize("suffix", COMPRESS)
@given(damaged=st.integers(0, 4), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_member_costs_only_itself(suffix: str, damaged: int, place: float, flip: int) -> None:
    """Any bit of any member: the others are whole, and the place is told."""
    texts = [b"<%d " % number + words(number, 30_000) + b"%d>" % number for number in range(5)]
    members = [bytearray(COMPRESS[suffix](text)) for text in texts]
    member = members[damaged]
    member[int(place * len(member))] ^= flip
    data, damages = pieces(b"".join(members), suffix)
    for number, text in enumerate(texts):
        if number != damaged:
            assert text in data, f"member {number} is lost"
    if damages:
        starts = [sum(map(len, members[:number])) for number in range(6)]
        assert all(starts[damaged] <= damage.offset < starts[damaged + 1] for damage in damages)
    else:
        assert texts[damaged] in data  # a bit that says nothing, such as the time stamp of a gzip header


def test_bytes_before_the_damage_are_given_to_the_last() -> None:
    """A wrong checksum comes behind all of them."""
    raw = bytearray(gzip.compress(words(1, 5_000), mtime=0))
    raw[-6] ^= 1  # the checksum: every byte was decompressed by then
    data, [damage] = pieces(bytes(raw), ".gz")
    assert data == words(1, 5_000)
    assert (damage.reason, damage.offset, damage.recovered) == ("corrupt", 0, 5_000)


def test_what_a_zstd_file_says_of_itself_in_skippable_frames_is_passed_over() -> None:
    """Before, between and behind frames."""
    note = b"\x5a\x2a\x4d\x18" + (100_000).to_bytes(4, "little") + random.Random(1).randbytes(100_000)
    frame = COMPRESS[".zst"]
    assert pieces(note + frame(b"one ") + note * 2 + frame(b"two") + note, ".zst") == (b"one two", [])


def test_a_zstd_frame_with_the_widest_window_of_reddit_dumps_is_read() -> None:
    """One that asks for twice as much is refused."""
    block = b"row\n" * 99
    header = (1 | len(block) << 3).to_bytes(3, "little")  # the last block, stored
    for window_log in (31, 32):
        frame = b"\x28\xb5\x2f\xfd" + bytes([0, window_log - 10 << 3]) + header + block
        data, damages = pieces(frame + COMPRESS[".zst"](b"next"), ".zst")
        if window_log == 31:
            assert (data, damages) == (block + b"next", [])
        else:
            assert data == b"next"
            assert [damage.reason for damage in damages] == ["too_much_memory"]


@pytest.mark.parametrize("memory", [28, 40])
def test_an_xz_stream_says_what_it_needs_and_costs_itself_alone(memory: int) -> None:
    """The stream behind a refused one is read."""
    raw = bytearray(lzma.compress(b"one ", preset=0))
    assert raw[12:16] == b"\x02\x00\x21\x01"  # a header of 12 bytes, no sizes, the LZMA2 filter, one byte of properties
    raw[16] = memory  # the dictionary: 28 is 64 MiB, 40 is 4 GiB
    raw[20:24] = zlib.crc32(raw[12:20]).to_bytes(4, "little")
    data, damages = pieces(bytes(raw) + lzma.compress(b"two"), ".xz")
    assert data == (b"one two" if memory == 28 else b"two")
    assert [damage.reason for damage in damages] == ([] if memory == 28 else ["too_much_memory"])


def test_a_damaged_bzip2_block_gives_no_garbled_text() -> None:
    """Its checksum comes behind it, so it is held back."""
    texts = [words(number, 50_000) for number in range(3)]
    members = [bytearray(bz2.compress(text)) for text in texts]
    members[1][len(members[1]) // 2] ^= 16
    data, [damage] = pieces(b"".join(members), ".bz2")
    assert data == texts[0] + texts[2]
    assert (damage.offset, damage.recovered) == (len(members[0]), 0)


def test_a_false_signature_inside_a_damaged_member_is_passed_over() -> None:
    """What does not decompress, and what decompresses to something else."""
    broken = bytearray(gzip.compress(b"WARC/ lost " + words(1, 3_000), mtime=0))
    broken[1000:1010] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"
    good = gzip.compress(b"WARC/ good", mtime=0)
    other = gzip.compress(b"something else", mtime=0)
    data, damages = pieces(bytes(broken[:1500]) + other + good, ".gz", b"WARC/")
    assert data.endswith(b"WARC/ good")
    assert b"something else" not in data
    assert len(damages) == 1


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_was_never_compressed_is_unreadable(suffix: str) -> None:
    """No byte of it is given."""
    data, damages = pieces(b"plain text\n" * 1000, suffix)
    assert data == b""
    assert [damage.reason for damage in damages] == ["unreadable"]


def test_a_bomb_comes_in_small_pieces() -> None:
    """Nobody is handed more than a piece at a time."""
    compressor = zlib.compressobj(wbits=31)
    raw = b"".join(compressor.compress(b"\0" * (1 << 20)) for _ in range(64)) + compressor.flush()
    sizes = [len(piece) for piece in decompressed(io.BytesIO(raw), "zeros.gz") if isinstance(piece, bytes)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 18


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_the_hash_is_that_of_the_raw_file_however_much_of_it_was_read(suffix: str, tmp_path: Path) -> None:
    """Nothing, a little, all."""
    path = tmp_path / f"file.txt{suffix}"
    path.write_bytes(COMPRESS.get(suffix, bytes)(words(3, 3_000_000)))
    for size in (0, 10, -1):
        reading = Reading("source", path.name)
        with open_raw(str(path), reading) as stream:
            stream.read(size)
        assert reading.raw_hash == hash_file(path)
        assert reading.raw_bytes == path.stat().st_size


@given(cuts=st.lists(st.integers(1, 50), max_size=20), sizes=st.lists(st.integers(0, 60), max_size=20))
def test_a_stream_gives_exactly_the_bytes_asked_for(cuts: list[int], sizes: list[int]) -> None:
    """However the pieces are cut."""
    data = words(1, sum(cuts)) if cuts else b""
    parts = [data[sum(cuts[:n]) : sum(cuts[: n + 1])] for n in range(len(cuts))]
    stream, position = RawStream(iter(parts)), 0
    for size in sizes:
        assert stream.read(size) == data[position : position + size]
        position = min(position + size, len(data))
        assert stream.position == position
    assert stream.read() == data[position:]


def test_a_stream_stops_at_a_damage_until_it_is_resumed() -> None:
    """No bytes from before and behind are joined unseen."""
    damage = Damage("corrupt", 5, "", 3)
    stream = RawStream(iter([b"abc", damage, b"def"]))
    assert stream.read(100) == b"abc"
    assert stream.damage is damage
    assert stream.read(100) == b""
    stream.resume()
    assert stream.read() == b"def"
    assert stream.damage is None


def test_a_disk_that_fails_half_way_stops_the_build_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the file."""
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 1 << 16:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr("rbt.corpus.sources.raw.open_input", lambda location: Failing(words(1, 200_000)))
    with pytest.raises(InputError, match="whole file"), open_raw("file.txt", Reading("s", "file.txt")) as stream:
        stream.read()


def test_a_local_file_that_may_not_be_opened_is_damaged_from_the_start(tmp_path: Path) -> None:
    """The build goes on."""
    with open_raw(str(tmp_path), Reading("source", "folder")) as stream:
        assert stream.read() == b""
        assert stream.damage is not None
        assert stream.damage.reason == "unreadable"


def test_suffixes_are_told_whatever_their_case() -> None:
    """And only one of them is taken off."""
    assert without_compression("Books.TXT.GZ") == "Books.TXT"
    assert without_compression("books.txt") == "books.txt"
