"""The raw files of a recipe: listed, stamped, cut into spans, and named by their content.

    [[source]] ──check, expand──> RawFile (in the order of the corpus) ──spans()──> tasks of `ingest`

Size and time stamp tell whether a file is the same as before; its hash, computed as it is read, names its content. The
hash of a file that is read in spans is the hash of the list of its spans and their hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rbt.config import to_table
from rbt.corpus.config import OPTION_KINDS, SourceConfig
from rbt.corpus.reading import Span
from rbt.corpus.sources.spans import split
from rbt.corpus.sources.table import FIELDS
from rbt.errors import ConfigError, InputError
from rbt.formats import urls
from rbt.manifest import read_manifest, to_json
from rbt.storage import (
    CHUNK_BYTES,
    HashingReader,
    as_text,
    common_folder,
    expand_inputs,
    input_stamps,
    new_hash,
    open_input,
)

WEB = re.compile(r"\.(warc|wet|arc)(\.gz)?$")
DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\dZ?)?)?)?")  # these sort as text, beside WARC dates
# What of a source shapes no document, or shapes it by the content of a file (see `resources`).
NOT_SHAPING = ("maximum_duplicates", "maximum_errors", "paths", "urls", "questions", "page_seconds")


@dataclass(frozen=True)
class RawFile:
    """One raw file of one source. `number` counts the files of its source in sorted order."""

    source_number: int
    source: SourceConfig  # with `urls` and `questions` as absolute paths
    number: int
    location: str
    folder: str  # that all files of the source share
    stamp: dict[str, int | str]
    resources: dict[str, Any] = field(default_factory=dict)  # what names the content of `urls` and `questions`

    @property
    def task(self) -> str:
        """Name of its tasks, in the order of the corpus."""
        return f"{self.source_number:02d}-{self.number:05d}"

    @property
    def origin(self) -> str:
        """The file's name, with the folders in which it lies below the one that all files of the source share."""
        return as_text(self.location.removeprefix(f"{self.folder}/"))

    def spans(self) -> list[Span]:
        """The spans in which it is read, in order; one where it is not split."""
        return split(self.location, int(self.stamp["size"]), self.source.kind)

    def hash(self) -> str:
        """Its content hash, read for that alone."""
        spans = self.spans()
        with open_input(self.location) as stream:
            return joined_hash(spans, [_hash_span(stream, span) for span in spans])


def list_raw_files(sources: Sequence[SourceConfig], base: Path) -> list[RawFile]:
    """The raw files of all sources, in the order of the corpus. Raises InputError where a source has none."""
    if not sources:
        raise InputError("expected at least one [[source]] in the recipe", found="none", cure="see `rbt init`")
    labels = [source.label for source in sources]
    if len(set(labels)) != len(labels):
        raise InputError("expected a different name for each [[source]]", found=", ".join(labels), cure="set `name`")
    for source in sources:
        check_options(source)
    return [raw for number, source in enumerate(sources) for raw in _files_of(number, source, base)]


def _files_of(source_number: int, source: SourceConfig, base: Path) -> Iterator[RawFile]:
    folder, found = common_folder(source.paths, base), resources(source, base)
    resolved = replace(
        source, urls=str(base / source.urls) if source.urls else "",
        questions=tuple(expand_inputs(source.questions, base)) if source.questions else (),
    )
    locations = expand_inputs(source.paths, base)
    _check_forms(source, locations)
    for number, (location, stamp) in enumerate(zip(locations, input_stamps(locations), strict=True)):
        yield RawFile(source_number, resolved, number, location, folder, stamp, found)


def resources(source: SourceConfig, base: Path) -> dict[str, Any]:
    """What names the content of the files that a source's options point to. Raises InputError, ArtefactError."""
    found: dict[str, Any] = {}
    if source.urls:
        found["urls"] = read_manifest(base / source.urls, urls.KIND, urls.VERSION, urls.MADE_BY).fingerprint
    if source.questions:
        found["questions"] = [_hash_input(location) for location in expand_inputs(source.questions, base)]
    return found


def _hash_input(location: str) -> str:
    with open_input(location) as stream:
        return HashingReader(stream).drain()


def check_options(source: SourceConfig) -> None:
    """Raise ConfigError where a source has an option of another kind, or a value that cannot be."""
    defaults = SourceConfig(source.kind, ())
    for name, kinds in OPTION_KINDS.items():
        if source.kind not in kinds and getattr(source, name) != getattr(defaults, name):
            raise ConfigError(
                f"source {source.label!r}: expected {name!r} on a source of kind {' or '.join(kinds)} only",
                found=f"kind {source.kind!r}", cure="take the key out, or change the kind",
            )
    for name in ("since", "until"):
        if (value := getattr(source, name)) and not is_date(value):
            raise ConfigError(f"source {source.label!r}, {name}: expected a date like 2016-09-01", found=repr(value))
    if source.since and source.until and source.since >= source.until:
        expected = f"source {source.label!r}: expected `since` before `until`"
        raise ConfigError(expected, found=f"{source.since} and {source.until}")
    if source.top_fraction != SourceConfig(source.kind, ()).top_fraction and not source.questions:
        raise ConfigError(f"source {source.label!r}: expected `questions` beside `top_fraction`", found="none")
    if unknown := sorted(source.columns.keys() - set(FIELDS)):
        raise ConfigError(
            f"source {source.label!r}, columns: expected some of {', '.join(FIELDS)}", found=", ".join(unknown),
            cure="ours first: columns = { text = \"their name\" }",
        )
    if not 0 < source.top_fraction <= 1:
        expected = f"source {source.label!r}, top_fraction: expected a share above 0, at most 1"
        raise ConfigError(expected, found=f"{source.top_fraction}")


def is_date(text: str) -> bool:
    """Whether a text is a year, a month, a day, or a second of the calendar, as WARC dates are written."""
    if not DATE.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.rstrip("Z") + "2000-01-01T00:00:00"[len(text.rstrip("Z")) :])
    except ValueError:
        return False
    return True


def _check_forms(source: SourceConfig, locations: Sequence[str]) -> None:
    """Raise InputError where a source of texts is given pages, which it reads only with a certain option."""
    option = {"stories": "questions", "openwebtext": "urls"}.get(source.kind)
    pages = next((location for location in locations if WEB.search(location.lower())), None)
    if option and pages and not getattr(source, option):
        raise InputError(
            f"expected texts, or `{option}` beside WARC and WET files", path=pages, found=f"no `{option}`",
            cure=f"see docs/sources/{source.kind}.md",
        )


def source_identity(source: SourceConfig) -> dict[str, Any]:
    """What of a source's configuration shapes its documents."""
    return {key: value for key, value in to_table(source).items() if key not in NOT_SHAPING}


def joined_hash(spans: Sequence[Span | None], hashes: Sequence[str]) -> str:
    """The content hash of a file by those of its spans: the same for a file of one span."""
    if len(hashes) == 1:
        return hashes[0]
    digest = new_hash("xxh3")
    ends = [span.stop for span in spans if span is not None]
    digest.update(to_json(list(zip(ends, hashes, strict=True))).encode())
    return f"xxh3-spans:{digest.hexdigest()}"


def _hash_span(stream: Any, span: Span) -> str:
    stream.seek(span.start)
    hashing = HashingReader(stream)
    left = span.stop - span.start
    while left and (chunk := hashing.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
    return hashing.hash
