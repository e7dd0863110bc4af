"""Wikitext to text passages: no lists, tables, headings, references or templates, except those that carry text.

    UTF-8 bytes ──drop_comments, tags (wikitext_tags)──> ──templates, tables, links (wikitext_brackets)──>
      ──render_templates (templates), in Python: the few that carry text──>
      ──strip_inline (wikitext_inline)──> ──entities──> ──join_lines, close_gaps (wikitext_lines)──> str

Passes are kernels over uint8 arrays, each linear in the source; marks between them are bytes that UTF-8 never holds.
Paragraphs are one blank line apart. Markup that is never closed costs at most the rest of its line. Templates that are
dropped are counted by name.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from html import unescape
from html.entities import html5
from typing import NamedTuple

from rbt.corpus.extract.templates import PREFIXES, TEMPLATES, render_template, template_name
from rbt.corpus.extract.wikitext_brackets import Names, resolve_brackets
from rbt.corpus.extract.wikitext_inline import break_table, strip_inline
from rbt.corpus.extract.wikitext_lines import close_gaps, join_lines
from rbt.corpus.extract.wikitext_marks import (
    CLOSE,
    DROP,
    GAP,
    HIDDEN,
    MAXIMUM_NAME_BYTES,
    OPEN,
    SHIFT,
    Int32,
    UInt64,
    byte_array,
    hash_table,
)
from rbt.corpus.extract.wikitext_tags import (
    copy_outside,
    drop_comments,
    match_tags,
    scan_tags,
    tag_table,
)

MEDIA = frozenset(
    """file image media category datei bild kategorie fichier catégorie archivo imagen categoría ficheiro
    imagem categoria immagine bestand afbeelding categorie plik grafika kategoria файл изображение
    категория fil kategori tiedosto kuva luokka soubor fájl kategória kép dosya resim ملف تصنيف ファイル 画像
    カテゴリ 文件 分类 图像 파일 분류 चित्र श्रेणी वर्ग attēls kategorija fails kategoreja súbor slika datoteka fitxer
    plik tập_tin thể_loại berkas lêer beeld""".split()
)
_EDGE = re.compile(b"([" + bytes([OPEN, CLOSE]) + b"])")
_DROPPED_LINE = re.compile(bytes([DROP]) + rb"[^\n]*")
_HIDDEN_HASH, _HIDDEN_END = (re.escape(bytes([HIDDEN, ord(character) + SHIFT])) for character in "#;")
_ENTITY = re.compile(rb"&(#|" + _HIDDEN_HASH + rb")?([0-9A-Za-z]{1,31})(?:;|" + _HIDDEN_END + rb")")
_CODE_POINT = re.compile(r"\d{1,7}|[xX][0-9a-fA-F]{1,6}")


class Tables(NamedTuple):
    """All names that the kernels know."""

    tags: UInt64
    tag_numbers: Int32
    breaks: UInt64
    break_meanings: Int32
    names: Names


@cache
def tables() -> Tables:
    """Built once a process."""
    names = Names(hash_table(TEMPLATES), hash_table(PREFIXES), hash_table(MEDIA))
    return Tables(*tag_table(), *break_table(), names)


def extract_wikitext(source: str, dropped: dict[str, int] | None = None) -> str:
    """The running text of a page. Names of templates that were dropped from it are counted into `dropped`."""
    return extract_utf8(source.encode("utf-8", "replace"), {} if dropped is None else dropped)


def extract_utf8(source: bytes, dropped: dict[str, int]) -> str:
    """The same for valid UTF-8."""
    known = tables()
    text = drop_comments(byte_array(source.replace(b"\r\n", b"\n") if b"\r" in source else source))
    tokens = scan_tags(text, known.tags, known.tag_numbers)
    if len(tokens):
        text = copy_outside(text, tokens, match_tags(tokens))
    resolved, names = resolve_brackets(text, known.names)
    if len(names):
        _count_names(text.tobytes(), names.tolist(), dropped)
    rendered = _DROPPED_LINE.sub(b"", render_templates(resolved.tobytes(), dropped))
    stripped = strip_inline(byte_array(rendered), known.breaks, known.break_meanings)
    plain = _ENTITY.sub(_decode_entity, stripped.tobytes())
    return close_gaps(join_lines(byte_array(plain))).tobytes().decode().strip()


def _count_names(text: bytes, spans: list[list[int]], counts: dict[str, int]) -> None:
    for start, stop in spans:
        _count(template_name(text[start:stop].decode("utf-8", "ignore")), counts)


def _count(name: str, counts: dict[str, int]) -> None:
    counts[name] = counts.get(name, 0) + 1


def render_templates(text: bytes, dropped: dict[str, int]) -> bytes:
    """Replace each OPEN content CLOSE by what the template stands for, the inner ones first."""
    if OPEN not in text:
        return text
    open_mark, close_mark, gap = bytes([OPEN]), bytes([CLOSE]), bytes([GAP])
    stack: list[list[bytes]] = [[]]
    for piece in _EDGE.split(text):
        if piece == open_mark:
            stack.append([])
        elif piece == close_mark:
            content = b"".join(stack.pop()).decode("utf-8", "surrogateescape")
            rendered = render_template(content)
            if rendered is None:
                _count(template_name(content[:MAXIMUM_NAME_BYTES]), dropped)  # names are kept in a cache
            stack[-1].append((rendered or "").encode("utf-8", "surrogateescape") or gap)
        else:
            stack[-1].append(piece)
    return b"".join(stack[0])


@lru_cache(4096)
def _entity(digits: bool, name: bytes) -> bytes:
    """The UTF-8 of an entity's character; ASCII that could be taken for markup is hidden. b"" for no entity."""
    if digits:
        text = unescape(f"&#{name.decode()};") if _CODE_POINT.fullmatch(name.decode()) else ""
    else:
        text = html5.get(f"{name.decode()};", "")
    if text.isspace() and text != "\xa0":
        return b" "
    if len(text) == 1 and text.isascii():
        return text.encode() if text.isalnum() else bytes([HIDDEN, ord(text) + SHIFT])
    return text.encode("utf-8", "replace")


def _decode_entity(found: re.Match[bytes]) -> bytes:
    return _entity(found[1] is not None, found[2]) or found[0]
