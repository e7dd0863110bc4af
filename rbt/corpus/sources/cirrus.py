"""CirrusSearch dumps: the search index of a wiki, two lines of JSON a page.

    lines ──index line {"index": {"_type", "_id"}}, content line {"namespace", "title", "text", ...}──> pairs
          ──namespace, model, disambiguation──> ──passages──> Document

Forms: enwiki-20230410-cirrussearch-content.json.gz (dumps.wikimedia.org/other/cirrussearch, made until December 2025)
and its successor, the shards enwiki_content-20260816-00000.json.bz2 (.../other/cirrus_search_index); unpacked too.

`text` is a page as its readers see it, templates expanded, but on one line: the format loses its paragraphs, and what
is in lists and in references stands in it like any other text (tables and captions are apart, in `auxiliary_text`,
and are not read). So the text of a record is, where it has `source_text`, the passages of that wikitext, by the same
rules as a page of an XML dump; and only else its `text`, of which the first paragraph is told by `opening_text`.

The reader keeps no state but one index line, and after anything broken goes on at the next index line.
Fields: https://www.mediawiki.org/wiki/Extension:CirrusSearch/Schema; the two lines are Elasticsearch's bulk format, and
wikiextractor's cirrus-extract.py reads the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.wikitext import extract_wikitext
from rbt.corpus.reading import Reading
from rbt.corpus.sources.dump import count_templates, is_disambiguation
from rbt.corpus.sources.raw import RawStream, open_raw
from rbt.corpus.sources.text import Line, decode, read_lines
from rbt.formats.document import Document

INDEX_LINE = re.compile(rb'\s*\{\s*"index"\s*:')
PAGE_TYPES = frozenset({"", "page", "_doc"})
DISAMBIGUATION_CATEGORY = re.compile(r"(?:category:)?(?:(?!to )\w+ ){0,3}disambiguation pages$", re.IGNORECASE)
_WIKI = re.compile(r"((?:[a-z]{2,3}|simple)(?:_[a-z_]{2,12}?)?)wiki(?:_content|_general)?(?:$|[-.])")
_TITLE_CHARACTERS = "/:(),!*;@$'"  # stand as they are in the address of a page


@dataclass(frozen=True)
class Index:
    """An index line: the page id that it names, or why it names none."""

    line: Line
    id: str = ""
    type: str = ""
    problem: str = ""
    detail: str = ""


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one dump or shard."""
    with open_raw(location, reading) as stream:
        resumed = False
        while True:
            yield from _pages(stream, resumed, config, reading)
            if stream.damage is None:
                return
            resumed = True
            stream.resume()


def _pages(stream: RawStream, resumed: bool, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The pages up to the end or the next damage. `resumed`: the first line may lack its beginning."""
    index: Index | None = None
    for line in read_lines(stream):
        if stream.damage is not None and line.size == len(line.data):
            break  # the damage cuts this line
        values, problem, detail = parse_object(line)
        if not line.data.strip() and not line.too_large:
            continue
        if INDEX_LINE.match(line.data):
            if index is not None:
                _quarantine_index(index, "missing_content", "an index line follows", reading)
            index = _index(line, values, problem, detail)
        elif problem and resumed:
            pass  # the rest of a line that the damage cut
        else:
            yield from _document(index, line, (values, problem, detail), config, reading)
            index = None
        resumed = False
    _end(stream, index, reading)


def _end(stream: RawStream, index: Index | None, reading: Reading) -> None:
    damage = stream.damage
    if damage is not None:
        locator = index.id if index else ""
        reading.lost(damage.reason, offset=damage.offset, locator=locator, detail=damage.detail)
    elif index is not None:
        _quarantine_index(index, "truncated", "the file ends behind an index line", reading)


def _quarantine_index(index: Index, reason: str, detail: str, reading: Reading) -> None:
    reading.record(index.line.size)
    reading.quarantine(reason, size=index.line.size, offset=index.line.offset, locator=index.id, detail=detail)


def parse_object(line: Line) -> tuple[dict[str, Any], str, str]:
    """The JSON object of a line, or {}, the reason why it has none, and a detail."""
    if line.too_large:
        return {}, "too_large", f"a line of {line.size} bytes"
    text, bad = decode(line.data)
    if bad >= 0:
        return {}, "encoding", f"byte {bad} of the line is no UTF-8"
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, "bad_json", str(error)
    return (values, "", "") if isinstance(values, dict) else ({}, "bad_json", "expected an object")


def _index(line: Line, values: dict[str, Any], problem: str, detail: str) -> Index:
    named = values.get("index")
    if problem or not isinstance(named, dict):
        return Index(line, problem=problem or "bad_json", detail=f"its index line: {detail or 'no object'}")
    return Index(line, plain(named.get("_id")), plain(named.get("_type")))


def _document(
    index: Index | None, line: Line, parsed: tuple[dict[str, Any], str, str], config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    values, problem, detail = parsed
    size = line.size + (index.line.size if index else 0)
    id = (index.id if index else "") or plain(values.get("page_id"))
    reading.record(size)
    if not problem and not id:
        problem, detail = (index.problem, index.detail) if index and index.problem else ("missing_index", "no page id")
    if not problem and (rule := _skip_rule(index, values, config)):
        reading.skip(rule, size)
        return
    text = None if problem else passages(values, reading)
    if text is None:
        reading.quarantine(
            problem or "missing_text", size=size, offset=line.offset, locator=id,
            detail=detail or "neither source_text nor text",
        )
        return
    title, date = plain(values.get("title")), plain(values.get("timestamp"))
    url = page_url(plain(values.get("wiki")) or reading.origin, title)
    yield Document(f"{config.label}:{id}", reading.origin, id, text, url, title, date, size)


def _skip_rule(index: Index | None, values: dict[str, Any], config: SourceConfig) -> str:
    if index is not None and index.type not in PAGE_TYPES:
        return "not_a_page"
    if values.get("namespace", 0) != 0:
        return "namespace"
    if values.get("content_model", "wikitext") not in ("wikitext", None):
        return "model"
    if not config.disambiguation and only_points_on(values.get("template"), values.get("category")):
        return "disambiguation"
    return ""


def only_points_on(templates: Any, categories: Any) -> bool:
    """Whether a page only lists other pages, by the names of its templates and categories, namespaces or not."""
    names = [name.rpartition(":")[2].replace("_", " ").strip().lower() for name in _names(templates)]
    return is_disambiguation(b"", names) or any(
        DISAMBIGUATION_CATEGORY.match(name.replace("_", " ")) for name in _names(categories)
    )


def _names(found: Any) -> list[str]:
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def passages(values: dict[str, Any], reading: Reading) -> str | None:
    """The text of a content line, None where it has none; templates that are lost are counted as dump.py does."""
    source, text, opening = (values.get(name) for name in ("source_text", "text", "opening_text"))
    if isinstance(source, str) and source:
        dropped: dict[str, int] = {}
        found = extract_wikitext(plain(source), dropped)
        count_templates(dropped, reading.counts)
        return found
    if not isinstance(text, str):
        return None
    text, opening = plain(text).strip(), plain(opening).strip()
    if opening and text.startswith(opening):
        return f"{opening}\n\n{text[len(opening) :].strip()}".strip()
    return text


def page_url(wiki: str, title: str) -> str:
    """The address of a page by the name of its wiki ("enwiki", or a dump's file name) and its title; "" if unknown."""
    found = _WIKI.match(wiki.rpartition("/")[2])
    if not found or not title:
        return ""
    page = quote(title.replace(" ", "_"), safe=_TITLE_CHARACTERS)
    return f"https://{found[1].replace('_', '-')}.wikipedia.org/wiki/{page}"


def plain(value: Any) -> str:
    """A value as text that UTF-8 can hold: JSON may escape half a surrogate pair."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
