"""The kernels over wikitext against a slow, obvious reference: regular expressions over bytes, one pass a rule."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbt.corpus.extract import wikitext
from rbt.corpus.extract.templates import PREFIXES, TEMPLATES
from rbt.corpus.extract.wikitext import MEDIA, extract_utf8, render_templates
from rbt.corpus.extract.wikitext_brackets import MAXIMUM_DEPTH
from rbt.corpus.extract.wikitext_inline import BREAKS
from rbt.corpus.extract.wikitext_marks import SHIFT, spellings
from rbt.corpus.extract.wikitext_tags import DROPPED_TAGS

GAP, HIDDEN, DROP, LINK, OPEN, CLOSE = b"\xff", b"\xfe", b"\xfd", b"\xfc", b"\xf8", b"\xf9"
HEADING = re.compile(rb"^(?===)(?!=+[ \t\xff]*$)[^\n]*==[ \t\xff]*$", re.MULTILINE)
BLANK_LINE = re.compile(rb"^[ \t]*\n", re.MULTILINE)
TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9_-]*)((?:[^<>\n]|\n(?![ \t]*\n|=))*)>")
BRACKET = re.compile(
    rb"^[ \t:]*\{\||^[ \t:]*\|\}(?!\})|\{\{|\}\}|\[\[|\]\]", re.MULTILINE
)
INLINE = re.compile(
    rb"</?[a-zA-Z](?:[^<>\n]|\n(?![ \t]*\n|=))*>"
    rb"|\[(?i:https?:|ftp:|mailto:|//)[^\x00-\x20\[\]<>\xff]*[ \t]*(?=[^\[\]\n]*\])"
    rb"|__[A-Z]{3,30}__|'+|\xfc"
)
SIGNS = re.compile(rb"(?:[0-9+-]|\xe2\x88\x92|(?i:&minus;|&#8722;|&#x2212;)){1,8}(?=</)")
RAISED = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
GAP_RUN = re.compile(rb"(?:[ \t,;\xff]|\xc2\xa0)+")
SYMBOL = re.compile(r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\xbf\u2000-\u2bff\u3000-\u303f]*")


def fold(name: bytes) -> bytes:
    """A name as names are compared."""
    return re.sub(rb"[ \t\n_]+", b" ", name).strip(b" ").lower()


def known(names: object) -> set[bytes]:
    """All spellings of names, folded."""
    return {fold(form.encode()) for name in names for form in spellings(name)}  # type: ignore[attr-defined]


def hide(content: bytes) -> bytes:
    """Content that is never markup."""
    punctuation = re.compile(rb"[!-%'-/:-@\[-`{-~]")
    return punctuation.sub(lambda found: HIDDEN + bytes([found[0][0] + SHIFT]), content)


def drop_comments(text: bytes) -> bytes:
    """Comments go; one that stands alone takes its line along."""
    out, place = b"", 0
    while (start := text.find(b"<!--", place)) >= 0:
        out += text[place:start]
        end = text.find(b"-->", start + 4)
        another = text.find(b"<!--", start + 4, end + 6)
        headings = [found.start() for found in HEADING.finditer(text) if start + 4 < found.start() <= another]
        if end < 0 or (another >= 0 and headings):
            out, place = out + DROP, start + 4
            continue
        place = end + 3
        head, rest = re.search(rb"(?:^|\n)[ \t]*\Z", out), re.match(rb"[ \t]*\n", text[place:])
        if head and rest:
            out, place = out.rstrip(b" \t"), place + rest.end()
    return out + text[place:]


def drop_tagged(text: bytes) -> bytes:
    """Tags whose content is no text."""
    tags = known([*DROPPED_TAGS, "nowiki"])
    headings = [found.start() - 1 for found in HEADING.finditer(text) if found.start()]
    blank_lines = [found.start() - 1 for found in BLANK_LINE.finditer(text) if found.start()]
    found_tags = [found for found in TAG.finditer(text) if fold(found[2]) in tags]
    out, place = b"", 0
    for number, found in enumerate(found_tags):
        slash, name, rest = found[1], fold(found[2]), found[3]
        if found.start() < place or slash:
            continue
        close = None
        if not rest.endswith(b"/") and not found[0].endswith(b"//>"):
            close = closing_tag(found_tags[number + 1 :], name)
            breaks = [*headings, *blank_lines] if name == b"ref" else headings
            if close and any(found.start() < start < close.start() for start in breaks):
                close = None
            if not close and name != b"ref":
                continue
        out += text[place : found.start()]
        content = text[found.end() : close.start()] if close else b""
        plain = name in (b"math", b"chem", b"ce") and re.fullmatch(rb"[a-zA-Z0-9 =()+,./-]{0,60}", content)
        if rest.endswith(b"/"):
            out += GAP
        elif close is None:
            out += DROP
        else:
            out += hide(content) if name == b"nowiki" or plain else GAP
        place = close.end() if close else found.end()
    return out + text[place:]


def closing_tag(following: list[re.Match[bytes]], name: bytes) -> re.Match[bytes] | None:
    """The first tag that closes `name`, unless `name` opens again before."""
    for found in following:
        if fold(found[2]) != name or (found[1] and found[3].strip(b" \t\n")):
            continue
        if found[1]:
            return found
        if not found[3].endswith(b"/"):
            return None
    return None


def resolve_brackets(text: bytes, dropped: list[bytes]) -> bytes:
    """Templates, tables, links."""
    headings = [found.start() for found in HEADING.finditer(text)]
    blank_lines = [found.start() for found in BLANK_LINE.finditer(text)]
    out: list[bytes] = []
    frames: list[tuple[bytes, int, int, int]] = []
    place = 0
    for found in BRACKET.finditer(text):
        out.append(text[place : found.start()])
        place = found.end()
        token = found[0].lstrip(b" \t:")
        if token in (b"{{", b"[[", b"{|"):
            if len(frames) < MAXIMUM_DEPTH:
                media = token == b"[[" and is_media(text[place:])
                frames.append((b"File" if media else token, place, len(out), len(dropped)))
                out.append(LINK if token == b"[[" and not media else DROP)
            continue
        index = opening(frames, token)
        if index is None:
            continue
        kind, opened, start, before = frames[index]
        del frames[index:]
        if any(opened <= heading < found.start() or heading == found.start() for heading in headings):
            continue
        content = b"".join(out[start + 1 :])
        if kind == b"[[":
            if not any(opened <= line < found.start() for line in blank_lines):
                out[start:] = [render_link(content)]
            continue
        match = re.match(rb"[^|{}\[\]<\xf8-\xff]{0,100}", text[opened:])
        assert match
        if kind == b"{{" and carries_text(match[0], text[opened + match.end() :][:1]):
            out[start:] = [OPEN + content + CLOSE]
            continue
        out[start:] = [GAP]
        del dropped[before:]
        if kind == b"{{":
            dropped.append(match[0])
    return b"".join([*out, text[place:]])


def opening(frames: list[tuple[bytes, int, int, int]], token: bytes) -> int | None:
    """The frame that a closing bracket closes."""
    kinds = {b"}}": (b"{{",), b"]]": (b"[[", b"File"), b"|}": (b"{|",)}[token]
    for index in range(len(frames) - 1, -1, -1):
        if frames[index][0] in kinds:
            return index
        if frames[index][0] == b"{|":
            return None
    return None


def is_media(text: bytes) -> bool:
    """Whether a link's content begins with a namespace whose links are no text."""
    match = re.match(rb"([^|{}\[\]<:\xf8-\xff]{0,99}):", text)
    return match is not None and fold(match[1]) in known(MEDIA)


def carries_text(name: bytes, ending: bytes) -> bool:
    """Whether a template of that name, with `ending` behind it, stands for text."""
    heads = [name[: found.end()] for found in re.finditer(rb"[-:/]", name)]
    whole = ending in (b"|", b"}") and fold(name) in known(TEMPLATES)
    return whole or any(fold(head) in known(PREFIXES) for head in heads)


def render_link(content: bytes) -> bytes:
    """The text of [[content]]."""
    depth = 0
    for place, byte in enumerate(content):
        depth += (byte == OPEN[0]) - (byte == CLOSE[0])
        if byte == ord("|") and depth == 0:
            if content[place + 1 :].strip(b" \t"):
                return content[place + 1 :]
            return content[:place].strip(b" \t").removeprefix(b":")
    target = content.strip(b" \t")
    if re.match(rb"[a-z]{2,3}(?:-[a-z]{1,8}){0,2}:", target):
        return GAP
    return target.removeprefix(b":")


def strip_inline(text: bytes) -> bytes:
    """Tags, external links, switches, quotes, from left to right."""
    out, place, closing = b"", 0, set()
    while found := INLINE.search(text, place):
        out += b"".join(text[at : at + 1] for at in range(place, found.start()) if at not in closing)
        place = found.end()
        if found[0][:1] == b"<":
            meaning = BREAKS.get(fold(TAG.match(found[0])[2]).decode(), 0)  # type: ignore[index]
            star = meaning == 3 and found[0][1:2] != b"/"
            out += [b"", b"\n\n", b" ", b"\n\n*" if star else b"\n\n", b""][meaning]
            if meaning == 4 and found[0][1:2] != b"/" != found[0][-2:-1] and (signs := SIGNS.match(text, place)):
                out += html.unescape(signs[0].decode().lower()).translate(RAISED).encode()
                place = signs.end()
        elif found[0][:1] == b"[":
            closing.add(text.index(b"]", place))
        elif found[0][:1] == b"'":
            count = len(found[0])
            out += b"'" * (1 if count in (1, 4) else max(count - 5, 0))
    return out + b"".join(text[at : at + 1] for at in range(place, len(text)) if at not in closing)


def line_kind(line: bytes) -> str:
    """What a line is."""
    core = line.strip(b" \t\xff")
    if not core:
        return "empty"
    after_gap = GAP in line[: line.index(core)]
    if core[:1] == b":" and not after_gap:
        content = core.lstrip(b": \t")
        ends = re.search(rb"[.!?](?:\xe2\x80\x9d)?[\xff \"')\]]*$", content)
        is_text = len(content) >= 60 and content[:1] not in b"*#;|" and ends
        return "indented" if is_text else "no text"
    if core[:1] in (b"*", b"#", b"|") or (core[:1] == b";" and not after_gap):
        return "no text"
    if (core[:1] == b"=" and core[-1:] == b"=" and len(core) > 2) or core.startswith(b"----"):
        return "no text"
    return "no text" if core[:1] == b"!" and (b"|" in core or b"!!" in core[1:]) else "text"


def join_lines(text: bytes) -> bytes:
    """Paragraphs."""
    paragraphs: list[list[bytes]] = [[]]
    before = ""
    for line in text.split(b"\n"):
        line = line.strip(b" \t")
        kind = line_kind(line)
        if kind == "text":
            paragraphs[-1].append(line)
        elif kind == "indented" and before == "text":
            paragraphs += [[line.lstrip(b": \t")], []]
        else:
            paragraphs.append([])
        before = kind if kind in ("text", "no text") else before
    joined = [b" ".join(lines) for lines in paragraphs if lines]
    return b"\n\n".join(paragraph for paragraph in joined if has_letter(paragraph))


def has_letter(paragraph: bytes) -> bool:
    """Whether there is more than signs."""
    shown = re.sub(rb"\xfe.|[\xf8-\xff]", b"", paragraph, flags=re.DOTALL).decode()
    return SYMBOL.fullmatch(shown) is None


def close_gaps(text: bytes) -> bytes:
    """Marks go, and what they leave around them."""
    return b"\n\n".join(close_paragraph(paragraph) for paragraph in text.split(b"\n\n"))


def close_paragraph(text: bytes) -> bytes:
    out, place = b"", 0
    for found in GAP_RUN.finditer(text):
        out += text[place : found.start()]
        place = max(place, found.end())
        if found.start() < place - len(found[0]):
            continue
        run, previous, following = found[0], text[: found.start()][-1:], text[place : place + 1]
        if GAP not in run:
            lead = b"" if not out and found.start() else run[:0]
            out += re.sub(rb"[ \t]{2,}", b" ", run.lstrip(b" \t") if lead == b"" and not out and found.start() else run)
        elif previous == b"(" and following == b")":
            out = out[:-1].rstrip(b" \t")
            place += 1
        elif previous not in (b"(", b"") and following not in (b")", b""):
            separators = re.findall(rb"[,;]", run)
            blank = re.search(rb"[ \t]|\xc2\xa0", run) and (separators or following not in (b".", b":", b"!", b"?"))
            out += b"".join(separators[:1]) + (b" " if blank else b"")
    out += text[place:]
    return re.sub(rb"\xfe(.)", lambda shown: bytes([shown[1][0] - SHIFT]), out, flags=re.DOTALL)


def reference(source: bytes) -> tuple[str, int]:
    """What extract_utf8 does: the text, and the number of dropped templates."""
    dropped: list[bytes] = []
    unknown: dict[str, int] = {}
    text = resolve_brackets(drop_tagged(drop_comments(source.replace(b"\r\n", b"\n"))), dropped)
    text = re.sub(rb"\xfd[^\n]*", b"", render_templates(text, unknown))
    text = wikitext._ENTITY.sub(wikitext._decode_entity, strip_inline(text))
    return close_gaps(join_lines(text)).decode().strip(), len(dropped) + sum(unknown.values())


TOKENS = """{{ }} [[ ]] {| |} | <ref> </ref> <ref·name=a·/> <!-- --> <nowiki> </nowiki> '' ''' ' = == === ·==·a·== *· :
text· 5· [http://x· ] [ [//a·b] <br> <math> </math> x=5 &amp; &#42; &nbsp; convert|5|km lang|fr|x File:a| Datei: fr: < >
( ) , ; <div> </li> <li> __TOC__ _ <sup> </sup> <SUP·a> <sup>6</sup> − &minus;
e|5 formatnum:12345 quote|q cite_web|t=1 Infobox nowrap| . ! !! é ü· ---- — 's"""
PASSAGE = ["\n:" + "a long passage " * 4, '."']
BREAKING = ["\n", "\n\n", "\n==", "\n== S ==\n", "\n{|", "\n|}", "\n|-\n", "\n* ", "\n!", "\t", "\u3000"]
MARKUP = [*PASSAGE, *(token.replace("·", " ") for token in TOKENS.split()), *BREAKING]


def extract(source: bytes) -> tuple[str, int]:
    """The kernels' text, and the number of dropped templates."""
    counts: dict[str, int] = {}
    return extract_utf8(source, counts), sum(counts.values())


@settings(max_examples=150)
@given(st.lists(st.sampled_from(MARKUP), max_size=60))
def test_the_kernels_do_what_the_reference_does_on_any_markup(tokens: list[str]) -> None:
    """Text and the number of dropped templates are equal."""
    source = "".join(tokens).encode()
    assert extract(source) == reference(source)


@settings(max_examples=50)
@given(st.text(alphabet=" \n\t<>!-/[]{}|'=*#:;&()_,.abAB5\u00e9\u00a0\u2014\u4e00\U0001f600", max_size=200))
def test_the_kernels_do_what_the_reference_does_on_any_text(source: str) -> None:
    """The same for characters in any order."""
    assert extract(source.encode()) == reference(source.encode())


@pytest.mark.slow
def test_the_kernels_do_what_the_reference_does_on_real_pages(data: Path) -> None:
    """The same for every page there is."""
    for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt")):
        source = path.read_bytes()
        source = html.unescape(source.decode()).encode() if b"&lt;ref" in source else source
        assert extract(source) == reference(source), path.name
