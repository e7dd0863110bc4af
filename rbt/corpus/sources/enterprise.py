"""Wikimedia Enterprise's HTML dumps: a tar.gz of JSON lines, one revision of a page a line.

    tar.gz ──members *.ndjson──> lines ──head before "article_body"──> page id, version   (lines,) int64 each
           ──sort──> which lines are the latest of their page                             (lines,) bool
    tar.gz ──members──> the latest lines ──JSON──> article_body.html ──extract_wikipedia_html──> Document

Form: enwiki-NS0-20250320-ENTERPRISE-HTML.json.tar.gz of dumps.wikimedia.org/other/enterprise_html/runs, members
enwiki_namespace_0_0.ndjson and so on. Pages that were edited while the dump was made are in it more than once, in any
order and any member; of each page the line with the greatest version.identifier is read (the last one of equals), and
the others are dropped by rule "stale_version".

That takes two passes over the archive, since the latest version may come last. The first one parses no article: the
metadata that stands before the article's body is read, and 16 bytes a line kept (about 50 while they are sorted: 350 MB
for 7 million pages), then one byte a line. It takes half as long again as decompression alone, 5 % of the whole on made
pages that compress 11:1, more on pages that compress less; an archive behind a URL is fetched twice. Holding the texts
back instead would take 20 GB of disk, and giving out every line at once a later stage that knows of versions. A latest
line that is broken inside is quarantined, and its page is not read from an older one; a line that is cut is never the
latest.

Fields, as public readers of these dumps agree on them: name, identifier, date_modified, version.identifier, url,
namespace.identifier, article_body.html and .wikitext; https://enterprise.wikimedia.com/docs/data-dictionary/.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.wikipedia_html import WikipediaPage, extract_wikipedia_html
from rbt.corpus.extract.wikitext import extract_wikitext
from rbt.corpus.reading import Reading
from rbt.corpus.sources.cirrus import parse_object, plain
from rbt.corpus.sources.compression import PIECE_BYTES, Damage
from rbt.corpus.sources.dump import count_templates, is_disambiguation
from rbt.corpus.sources.raw import RawStream, decompressed, open_raw
from rbt.corpus.sources.tar import Member, read_members
from rbt.corpus.sources.text import Line, read_lines
from rbt.errors import InputError
from rbt.formats.document import Document
from rbt.storage import open_input

BODY = b'"article_body"'
REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)
NO_VERSION = (-1, -1)  # of a line that is no page


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one archive. Raises InputError where it changes between the two passes."""
    latest = latest_lines(location)
    number = 0
    with open_raw(location, reading) as stream:
        for found in _lines(stream):
            if isinstance(found, Damage):
                reading.lost(found.reason, offset=found.offset, detail=found.detail)
            elif isinstance(found, Member):
                reading.record(found.size)
                reading.skip("not_text", found.size)
            else:
                if number == len(latest):
                    _raise_changed(location)
                yield from _document(found, bool(latest[number]), config, reading)
                number += 1
    if number != len(latest):
        _raise_changed(location)


def _raise_changed(location: str) -> None:
    expected = "expected the same lines when it is read again"
    raise InputError(expected, path=location, found="others", cure="leave it alone while it is read")


def latest_lines(location: str) -> npt.NDArray[np.bool_]:
    """Which lines are to be read, in order, (lines,) bool: the latest of each page, and those that are no page.

    A damage ends the lines here as it does in the second pass, which reports it. Raises InputError where reading fails.
    """
    identifiers, versions = array("q"), array("q")
    try:
        with closing(open_input(location)) as file:
            for found in _lines(RawStream(decompressed(file, location))):
                if isinstance(found, Line):
                    identifier, version = version_of(found)
                    identifiers.append(identifier)
                    versions.append(version)
    except OSError as error:
        raise InputError("expected to read the whole file", path=location, found=str(error)) from error
    return latest(np.frombuffer(identifiers, np.int64), np.frombuffer(versions, np.int64))


def latest(identifiers: npt.NDArray[np.int64], versions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each line whether its version is the greatest of its identifier, (lines,) bool; the last one of equals.

    Lines with a negative identifier are all True.
    """
    chosen = identifiers < 0
    order = np.lexsort((versions, identifiers))  # stable, so equals stay in order
    if len(order):
        ends = np.append(np.diff(identifiers[order]) != 0, True)
        chosen[order[ends]] = True
    return chosen


def version_of(line: Line) -> tuple[int, int]:
    """(page id, version) of a line, mostly without parsing its article; NO_VERSION where it has none."""
    data = line.data.rstrip()
    if not data.endswith(b"}"):
        return NO_VERSION
    head = data[: max(data.find(BODY), 0)].rstrip().removesuffix(b",") + b"}"
    for part, unknown in ((head, None), (data, 0)):
        try:
            values = json.loads(part)
            return _int(values["identifier"]), _int((values.get("version") or {}).get("identifier", unknown))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # the fields may stand behind the body
    return NO_VERSION


def _int(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"expected 64 bits; found {number}")
    return number


def _lines(stream: RawStream) -> Iterator[Line | Member | Damage]:
    """Lines of all members *.ndjson, members of other kinds, and the damage that ends the archive."""
    for member in read_members(stream):
        if isinstance(member, Damage):
            yield stream.damage or member
        elif member.name.lower().endswith((".ndjson", ".json", ".jsonl")):
            for line in read_lines(RawStream(_pieces(member))):
                cut = line.size == len(line.data) and member.unread > 0  # the archive's damage stands for it
                if not cut and (line.data.strip() or line.too_large):
                    yield line
        else:
            yield member


def _pieces(member: Member) -> Iterator[bytes | Damage]:
    return iter(lambda: member.read(PIECE_BYTES), b"")


def _document(line: Line, is_latest: bool, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    size = line.size
    reading.record(size)
    if not is_latest:
        reading.skip("stale_version", size)
        return
    values, problem, detail = parse_object(line)
    id, page = plain(values.get("identifier")), None
    if not problem and not id:
        problem, detail = "missing_id", "no identifier"
    if not problem and _number(values, "namespace") not in (0, None):
        reading.skip("namespace", size)
        return
    if not problem:
        page, problem, detail = _page(values, config, reading)
    if page is None:
        reading.quarantine(problem, size=size, offset=line.offset, locator=id, detail=detail)
    elif page.kind == "redirect" or (page.kind == "disambiguation" and not config.disambiguation):
        reading.skip(page.kind, size)
    else:
        url, title, date = (plain(values.get(name)) for name in ("url", "name", "date_modified"))
        yield Document(f"{config.label}:{id}", reading.origin, id, page.text, url, title, date, size)


def _number(values: dict[str, Any], name: str) -> Any:
    found = values.get(name)
    return found.get("identifier") if isinstance(found, dict) else None


def _page(values: dict[str, Any], config: SourceConfig, reading: Reading) -> tuple[WikipediaPage | None, str, str]:
    """The page, or the reason why there is none and a detail. Without HTML, its wikitext is read."""
    body = values.get("article_body")
    html, wikitext = (body.get("html"), body.get("wikitext")) if isinstance(body, dict) else (None, None)
    if isinstance(html, str) and html:
        if len(html) > config.page_bytes:
            return None, "too_large", f"HTML of {len(html)} characters"
        return extract_wikipedia_html(html), "", ""
    if isinstance(wikitext, str) and wikitext:
        return _page_of_wikitext(plain(wikitext), reading), "", ""
    return None, "missing_text", "neither article_body.html nor .wikitext"


def _page_of_wikitext(wikitext: str, reading: Reading) -> WikipediaPage:
    if REDIRECT.match(wikitext):
        return WikipediaPage("redirect", "")
    dropped: dict[str, int] = {}
    text = extract_wikitext(wikitext, dropped)
    if is_disambiguation(wikitext.encode(), dropped):
        return WikipediaPage("disambiguation", text)
    count_templates(dropped, reading.counts)
    return WikipediaPage("article", text)
