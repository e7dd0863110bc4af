"""The URL set: which pages are wanted, as 64-bit hashes of canonical URLs, sorted and memory-mapped.

    url ──canonical_url──> "http://host/path?query" ──XXH3──> uint64 ──binary search in wanted.npy──> bool

    URLS/manifest.json     kind "urls"; facts: urls, submissions
    URLS/wanted.npy        uint64 (urls,), strictly ascending
    URLS/urls-000.tsv.gz   url, karma, submissions; row i of all parts together is that of wanted[i]
    URLS/ledger.json  quarantine.arrow

Since the order is that of the hashes, the first lines of the list are a random sample of it. Two URLs have the same
hash with a chance of 2^-64: among n wanted URLs a page that is not wanted is taken for one with a chance of n / 2^64
(for a hundred million, five in 10^12).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from rbt.errors import ArtefactError
from rbt.formats.arrays import write_joined
from rbt.formats.canonical_url import canonical_url
from rbt.manifest import read_manifest

KIND, VERSION = "urls", 1
MADE_BY = "rbt corpus urls"
WANTED, LEDGER = "wanted.npy", "ledger.json"
ANY_PART = "urls-*.tsv.gz"

UInt64 = npt.NDArray[np.uint64]


def part_name(number: int) -> str:
    """File name of a part of the list."""
    return f"urls-{number:03d}.tsv.gz"


def url_hash(canonical: str) -> int:
    """The 64-bit hash (XXH3) of a canonical URL."""
    return int(xxhash.xxh3_64_intdigest(canonical.encode()))


def write_wanted(path: Path, pieces: Sequence[Path]) -> int:
    """Join arrays of hashes (.npy) in their order as wanted.npy, atomically; the number of hashes.

    One piece is in memory at a time. Raises ArtefactError where the whole is not strictly ascending.
    """
    total = sum(len(open_wanted(piece)) for piece in pieces)
    write_joined(path, _ascending(pieces), total, "<u8")
    return total


def _ascending(pieces: Sequence[Path]) -> Iterator[UInt64]:
    last = -1
    for piece in pieces:
        hashes = open_wanted(piece)
        if len(hashes) and not (last < int(hashes[0]) and bool((hashes[:-1] < hashes[1:]).all())):
            raise ArtefactError("expected strictly ascending hashes", path=piece, cure="delete the work folder")
        last = int(hashes[-1]) if len(hashes) else last
        yield hashes


@dataclass(frozen=True)
class UrlSet:
    """The wanted URLs. Memory is what the system's page cache gives to `wanted.npy`, shared by all workers."""

    hashes: UInt64  # (urls,), strictly ascending
    fingerprint: str  # of the artefact, for the identity of what is made with it

    @classmethod
    def open(cls, folder: Path | str) -> UrlSet:
        """Open a finished URL list. Raises ArtefactError where there is none."""
        manifest = read_manifest(Path(folder), KIND, VERSION, MADE_BY)
        return cls(open_wanted(Path(folder) / WANTED), manifest.fingerprint)

    def __len__(self) -> int:
        return len(self.hashes)

    def contains(self, url: str) -> bool:
        """Whether the page of this URL (in any spelling) is wanted; False for what is no http(s) URL."""
        canonical = canonical_url(url)
        return bool(canonical) and self.contains_hash(url_hash(canonical))

    def contains_hash(self, hash: int) -> bool:
        """Whether this hash of a canonical URL is among the wanted."""
        wanted = np.uint64(hash)
        place = int(np.searchsorted(self.hashes, wanted))
        return place < len(self.hashes) and bool(self.hashes[place] == wanted)


def open_wanted(path: Path) -> UInt64:
    """wanted.npy over a memory map. Raises ArtefactError where it is missing, cut, or another array."""
    try:
        hashes = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError("expected an array of hashes", path=path, found=str(error), cure="rebuild it") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ArtefactError("expected uint64 (urls,)", path=path, found=f"{hashes.dtype} {hashes.shape}")
    view: UInt64 = np.asarray(hashes)  # a memory map's own methods are slower
    return view


def check_urls(folder: Path) -> list[str]:
    """What is wrong with a URL list beyond its hashes: the order of `wanted.npy`, and rows that are not those of it."""
    manifest = read_manifest(folder, KIND, VERSION, MADE_BY)
    hashes = open_wanted(folder / WANTED)
    problems = []
    if not bool((hashes[:-1] < hashes[1:]).all()):
        problems.append(f"{WANTED}: not strictly ascending")
    rows = 0
    for name in manifest.facts["parts"]:
        for number, row in enumerate(read_part(folder / name), 1):
            canonical = canonical_url(row.url)
            if rows >= len(hashes) or url_hash(canonical) != int(hashes[rows]):
                return [*problems, f"{name}, line {number}: not the URL of row {rows} of {WANTED}"]
            rows += 1
    if rows != len(hashes) or rows != manifest.facts["urls"]:
        problems.append(f"{rows} URLs in the list, {len(hashes)} in {WANTED}, {manifest.facts['urls']} in the manifest")
    return problems


@dataclass(frozen=True)
class WantedUrl:
    """A row of the list: a spelling of the URL, and the sum of the karma of its submissions."""

    url: str
    karma: int
    submissions: int


def read_part(path: Path) -> Iterator[WantedUrl]:
    """The rows of a part of the list, in order of hash."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as stream:
        for line in stream:
            url, karma, submissions = line.rstrip("\n").split("\t")
            yield WantedUrl(url, int(karma), int(submissions))
