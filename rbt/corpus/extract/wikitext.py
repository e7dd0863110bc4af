"""Wikitext to text passages: no lists, tables, headings, references or templates, except those that carry text.

    source ──comments, nowiki, tags with their content──> ──templates, tables, links (one stack)──>
           ──tags, external links, quotes──> lines ──paragraphs──> text, paragraphs apart by one blank line

Every pass is linear in the source. Markup that is never closed costs at most the rest of its line.
"""

from __future__ import annotations

import html
import re

from rbt.corpus.extract.templates import render_template

MAXIMUM_DEPTH = 60  # of nested templates, tables and links; deeper ones are taken for text
DROPPED_TAGS = (
    "ref", "references", "math", "chem", "ce", "gallery", "timeline", "syntaxhighlight", "source", "score", "imagemap",
    "hiero", "templatedata", "mapframe", "maplink", "graph", "pre", "table", "includeonly", "inputbox", "section",
    "indicator", "categorytree", "style", "script", "templatestyles",
)
MEDIA = frozenset(
    """file image media category datei bild kategorie fichier catégorie archivo imagen categoría ficheiro imagem
    categoria immagine bestand afbeelding categorie plik grafika kategoria файл изображение категория fil kategori
    tiedosto kuva luokka soubor kategorie fájl kategória dosya resim kategori
    ملف تصنيف ファイル 画像 カテゴリ 文件 分类 파일 분류 चित्र श्रेणी वर्ग attēls kategorija""".split()
)
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,8}){0,2}$|simple$")

_FIRST = 0x10FF00  # private characters that stand for markup while it must not be seen
_MARKUP = "[]{}|'<>=*#:;_-"
_HIDE = {ord(character): _FIRST + number for number, character in enumerate(_MARKUP)}
_SHOW = {private: character for character, private in _HIDE.items()}
_DROP = chr(_FIRST + 64)  # the rest of the line goes
_PRIVATE = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + 64)}]")

_TAG = re.compile(r"<!--|<(nowiki|" + "|".join(DROPPED_TAGS) + r")\b([^<>]*)>", re.IGNORECASE)
_CLOSE = {
    name: re.compile(rf"</{name}\s{{0,9}}>", re.IGNORECASE) for name in ("nowiki", *DROPPED_TAGS)
}
_REF_BREAK = re.compile(r"<ref\b[^<>]*(?<!/)>|\n[ \t]*\n|\n==", re.IGNORECASE)
_BRACKET = re.compile(r"\{\{|\}\}|\[\[|\]\]|^[ \t:]*\{\||^[ \t]*\|\}(?!\})", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_BLOCK_TAG = re.compile(r"</?(?:blockquote|p|div|poem|center|ul|ol|dl|li|dd|dt|h[1-6]|hr)\b[^<>]*>", re.IGNORECASE)
_BREAK_TAG = re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_ANY_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\[\]<>]*[ \t]*([^\[\]\n]*)\]", re.IGNORECASE)
_SWITCH = re.compile(r"__[A-Z]{3,30}__")
_QUOTES = re.compile(r"'{2,}")
_EMPTY_BRACKETS = re.compile(r"[ \t]?\([ \t,;:\xa0]*\)")
_BRACKET_HEAD = re.compile(r"\([ \t]*[,;][ \t]*")
_SPACES = re.compile(r"[ \t]{2,}")


def extract_wikitext(source: str) -> str:
    """The running text of a page."""
    text = drop_tagged(_PRIVATE.sub("", source).replace("\r\n", "\n"))
    text = resolve_brackets(text)
    text = re.sub(f"{_DROP}[^\n]*", "", text)
    text = _BREAK_TAG.sub(" ", _BLOCK_TAG.sub("\n\n", text))
    text = _EXTERNAL.sub(r"\1", _SWITCH.sub("", _ANY_TAG.sub("", text)))
    text = _QUOTES.sub(_apostrophes, text)
    return "\n\n".join(_polish(paragraph) for paragraph in paragraphs(text))


class _Closers:
    """Where each kind of tag is closed next; every search starts where the last one ended, so all are linear."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, tuple[int, int]] = {}

    def next(self, name: str, position: int) -> tuple[int, int] | None:
        """(start, end) of the next closing tag at or behind `position`, or None."""
        start, end = self._found.get(name, (-1, -1))
        if start < position:
            found = None if start == -2 else _CLOSE[name].search(self._text, position)
            start, end = found.span() if found else (-2, -2)
            self._found[name] = start, end
        return (start, end) if start >= 0 else None


def drop_tagged(text: str) -> str:
    """Drop comments and the tags whose content is no text, and hide markup inside <nowiki>."""
    parts: list[str] = []
    position, closers, comments = 0, _Closers(text), True
    while found := _TAG.search(text, position):
        parts.append(text[position : found.start()])
        position = found.end()
        if found[1] is None:
            end = text.find("-->", position) if comments else -1
            comments = end >= 0
            position = end + 3 if comments else position
            parts.append("" if comments else _DROP)
            continue
        name, attributes = found[1].lower(), found[2]
        if attributes.endswith("/"):
            continue
        close = closers.next(name, position)
        if name == "nowiki":
            if close is not None:
                parts.append(text[position : close[0]].translate(_HIDE))
                position = close[1]
        elif name == "ref" and (close is None or _REF_BREAK.search(text, position, close[0])):
            parts.append(_DROP)
        elif close is not None:
            position = close[1]
    parts.append(text[position:])
    return "".join(parts)


def resolve_brackets(text: str) -> str:
    """Replace templates, tables and links by their text. What is never closed loses its brackets, no more."""
    out: list[str] = []
    frames: list[tuple[str, int]] = []  # (opening bracket, index in `out` of the place it was opened)
    position = 0
    for found in _BRACKET.finditer(text):
        out.append(text[position : found.start()])
        position = found.end()
        token = found[0].lstrip(" \t:")
        if token in ("{{", "[[", "{|"):
            if len(frames) < MAXIMUM_DEPTH:
                frames.append((token, len(out)))
                out.append(_DROP if token != "[[" else "")
            continue
        place = _opening(frames, token)
        if place is None:
            continue
        opening, start = frames[place]
        del frames[place:]
        content = "".join(out[start + 1 :])
        rendered = _render(opening, content)
        if rendered is not None:
            del out[start:]
            out.append(rendered)
    out.append(text[position:])
    return "".join(out)


def _opening(frames: list[tuple[str, int]], token: str) -> int | None:
    """The frame that a closing bracket closes: the nearest of its kind, for templates and links within its table."""
    wanted = {"}}": "{{", "]]": "[[", "|}": "{|"}[token]
    for place in range(len(frames) - 1, -1, -1):
        if frames[place][0] == wanted:
            return place
        if frames[place][0] == "{|":
            return None
    return None


def _render(opening: str, content: str) -> str | None:
    """The text of something closed, or None where it spans what it should not: then it was never closed."""
    if opening == "{|":
        return ""
    if "\n==" in content:
        return None
    if opening == "{{":
        return render_template(content)
    return None if _BLANK_LINE.search(content) else render_link(content)


def render_link(content: str) -> str:
    """The text of [[content]]."""
    target, pipe, text = content.partition("|")
    target = target.strip()
    namespace, colon, _ = target.partition(":")
    prefix = namespace.strip().lower()
    if colon and prefix in MEDIA:
        return ""
    if pipe and text.strip():
        return text
    if colon and prefix and not pipe and LANGUAGE.match(namespace):
        return ""
    return target.removeprefix(":")


def _apostrophes(found: re.Match[str]) -> str:
    """Two quotes are italics, three bold, five both; what is over is text."""
    count = len(found[0])
    return "'" if count == 4 else "'" * max(count - 5, 0)


def paragraphs(text: str) -> list[str]:
    """Lines joined to paragraphs; headings, lists, rules and rests of tables end a paragraph and are dropped."""
    found: list[str] = []
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        if stripped and not _is_dropped(stripped):
            lines.append(stripped)
        elif lines:
            found.append(" ".join(lines))
            lines = []
    return [paragraph for paragraph in found if any(character.isalnum() for character in paragraph)]


def _is_dropped(line: str) -> bool:
    return line[0] in "*#:;|" or line.startswith("----") or (line[0] == "=" and line[-1] == "=" and len(line) > 2)


def _polish(paragraph: str) -> str:
    text = html.unescape(_EMPTY_BRACKETS.sub("", paragraph))
    return _SPACES.sub(" ", _BRACKET_HEAD.sub("(", text)).translate(_SHOW).strip()
