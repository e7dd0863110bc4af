"""Build examples/raw/, dumps in their true raw formats, from the readable examples/sources/."""

from __future__ import annotations

import argparse
import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

EXAMPLES = Path(__file__).resolve().parent
SOURCES = EXAMPLES / "sources"
BROKEN = SOURCES / "broken"

# 2018-10-01T00:00:00Z, the day of the sample dump: archives must not carry the day of the build.
FIXED_TIME = 1538352000
PAGES_PER_STREAM = 10
STORIES_PER_FILE = 6

RawFiles = dict[str, bytes]

# ---------------------------------------------------------------- sources


@dataclass(frozen=True)
class Source:
    """One source file: its name, the `key: value` lines at its head, the text below them."""

    name: str
    head: dict[str, str]
    body: str


def source_paths(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match, in name order."""
    return sorted(folder.glob(pattern), key=lambda path: path.name)


def read_text(path: Path) -> str:
    """Read a source without the newlines around its text."""
    return path.read_text(encoding="utf-8").strip("\n")


def read_source(path: Path) -> Source:
    """Read a source that begins with header lines and a blank line."""
    head, _, body = read_text(path).partition("\n\n")
    fields = (line.partition(": ") for line in head.split("\n"))
    return Source(path.name.split(".")[0], {key: value for key, _, value in fields}, body)


# ---------------------------------------------------------------- compression


def gzip_member(data: bytes) -> bytes:
    """Compress to one gzip member that carries neither a time nor a file name."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as member:
        member.write(data)
    return buffer.getvalue()


def tar_archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack named contents into a USTAR archive whose members belong to nobody."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), FIXED_TIME
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def cut(data: bytes, percent: int) -> bytes:
    """Keep the first part of the data, as an interrupted download does."""
    return data[: len(data) * percent // 100]


def flip_middle(data: bytes) -> bytes:
    """Invert sixteen bytes in the middle, as a bad disk block does."""
    middle = len(data) // 2
    spoiled = bytes(byte ^ 0xFF for byte in data[middle : middle + 16])
    return data[:middle] + spoiled + data[middle + 16 :]


# ---------------------------------------------------------------- Wikipedia

NAMESPACES = {
    -2: "Media",
    -1: "Special",
    0: "",
    1: "Talk",
    2: "User",
    3: "User talk",
    4: "Wikipedia",
    5: "Wikipedia talk",
    6: "File",
    7: "File talk",
    8: "MediaWiki",
    9: "MediaWiki talk",
    10: "Template",
    11: "Template talk",
    12: "Help",
    13: "Help talk",
    14: "Category",
    15: "Category talk",
}

DUMP_START = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.mediawiki.org/xml/export-0.10/ \
http://www.mediawiki.org/xml/export-0.10.xsd" version="0.10" xml:lang="en">
  <siteinfo>
    <sitename>Samplepedia</sitename>
    <dbname>samplewiki</dbname>
    <base>https://sample.example/wiki/Main_Page</base>
    <generator>MediaWiki 1.32.0-wmf.23</generator>
    <case>first-letter</case>
    <namespaces>
{namespaces}    </namespaces>
  </siteinfo>
"""
DUMP_END = b"</mediawiki>\n"

PAGE = """\
  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>{id}</id>
{redirect}    <revision>
      <id>{revision}</id>
      <timestamp>{timestamp}</timestamp>
      <contributor>
        <username>Sample editor</username>
        <id>7</id>
      </contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{size}" xml:space="preserve">{text}</text>
      <sha1>{sha1}</sha1>
    </revision>
  </page>
"""


def dump_escape(text: str) -> str:
    """Escape as MediaWiki's exporter does, double quotes included."""
    return escape(text, {'"': "&quot;"})


def namespace_xml(key: int, name: str) -> str:
    """Return the line of one namespace; the main one has no name, hence no content."""
    content = f">{name}</namespace>" if name else " />"
    return f'      <namespace key="{key}" case="first-letter"{content}\n'


def dump_start() -> bytes:
    """Return the head of the dump with its list of namespaces."""
    lines = (namespace_xml(key, name) for key, name in NAMESPACES.items())
    return DUMP_START.format(namespaces="".join(lines)).encode()


def redirect_target(wikitext: str) -> str | None:
    """Return the title a redirect page points to, None for any other page."""
    match = re.match(r"#REDIRECT\s*\[\[([^\]|#]+)", wikitext, re.IGNORECASE)
    return match[1].strip() if match else None


def base36_sha1(data: bytes) -> str:
    """Return the SHA-1 in the 31 base-36 digits that MediaWiki writes."""
    number = int.from_bytes(hashlib.sha1(data).digest(), "big")
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(31, "0")


def page_xml(page: Source) -> str:
    """Return the <page> element of a wiki page."""
    target = redirect_target(page.body)
    data = page.body.encode()
    return PAGE.format(
        title=dump_escape(page.head["title"]),
        ns=page.head["ns"],
        id=page.head["id"],
        redirect=f'    <redirect title="{dump_escape(target)}" />\n' if target else "",
        revision=860000000 + int(page.head["id"]),
        timestamp=page.head["timestamp"],
        size=len(data),
        text=dump_escape(page.body),
        sha1=base36_sha1(data),
    )


def page_stream(pages: Iterable[Source]) -> bytes:
    """Compress some pages to a bz2 stream of their own."""
    return bz2.compress("".join(page_xml(page) for page in pages).encode())


def wiki_pages() -> list[Source]:
    """Return the wiki pages in the order of their ids, as a dump has them."""
    pages = [read_source(path) for path in source_paths(SOURCES / "wikipedia", "*.wiki")]
    return sorted(pages, key=lambda page: int(page.head["id"]))


def multistream(pages: Sequence[Source]) -> tuple[bytes, str]:
    """Return a multistream dump and the index of where each page's stream begins."""
    dump, index = bz2.compress(dump_start()), ""
    for first in range(0, len(pages), PAGES_PER_STREAM):
        batch = pages[first : first + PAGES_PER_STREAM]
        # The true index repeats the titles as the XML has them, entities and all.
        for page in batch:
            index += f"{len(dump)}:{page.head['id']}:{dump_escape(page.head['title'])}\n"
        dump += page_stream(batch)
    return dump + bz2.compress(DUMP_END), index


def mirrored(page: Source, text: str) -> Source:
    """Return a page as another wiki has it: another id, title, and text."""
    number, title = int(page.head["id"]) + 900000, page.head["title"] + " (mirror)"
    return replace(page, head={**page.head, "id": str(number), "title": title}, body=text)


def mirror_pages(pages: Iterable[Source]) -> list[Source]:
    """Return the first articles as mirrored pages, as many as there are texts for them."""
    articles = [page for page in pages if page.head["ns"] == "0" and not redirect_target(page.body)]
    texts = [read_text(path) for path in source_paths(BROKEN, "*.wiki")]
    return [mirrored(page, text) for page, text in zip(articles, texts, strict=False)]


def broken_dump(pages: Iterable[Source]) -> bytes:
    """Return a dump that ends inside its third page; a stream a page keeps the others whole."""
    streams = [page_stream([page]) for page in mirror_pages(pages)]
    whole = bz2.compress(dump_start()) + b"".join(streams[:-1])
    return whole + cut(streams[-1], 50)


def wikipedia_files() -> RawFiles:
    """Return the sample dump, its index, and the broken dump."""
    pages = wiki_pages()
    dump, index = multistream(pages)
    stem = "wikipedia/samplewiki-20181001-pages-articles-multistream"
    return {
        f"{stem}.xml.bz2": dump,
        f"{stem}-index.txt.bz2": bz2.compress(index.encode()),
        "wikipedia/brokenwiki-20181001-pages-articles.xml.bz2": broken_dump(pages),
    }


# ---------------------------------------------------------------- books


def invalid_utf8(data: bytes) -> bytes:
    """Put three bytes that no UTF-8 text has between two words in the middle."""
    middle = data.index(b" ", len(data) // 2)
    return data[:middle] + b"\xff\xfe\x80" + data[middle:]


def books_files() -> RawFiles:
    """Return the books as they are, and one with a broken encoding."""
    books = {f"books/{path.name}": path for path in source_paths(SOURCES / "books", "*.txt")}
    broken = (BROKEN / "broken-encoding.book.txt").read_bytes()
    return {name: path.read_bytes() for name, path in books.items()} | {
        "books/broken-encoding.txt": invalid_utf8(broken)
    }


# ---------------------------------------------------------------- CC-News

ONE_PIXEL_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


@dataclass(frozen=True)
class Capture:
    """One answer of a web server, as a crawler stored it."""

    url: str
    date: str
    content_type: str
    body: bytes
    status: str = "200 OK"


def read_capture(path: Path) -> Capture:
    """Read a news page and encode it in the charset that its content type declares."""
    page = read_source(path)
    content_type = page.head["content-type"]
    charset = content_type.partition("charset=")[2] or "utf-8"
    return Capture(page.head["url"], page.head["date"], content_type, page.body.encode(charset))


def failed_captures(after: Capture) -> list[Capture]:
    """Return the two answers that hold no article: a missing page and an image."""
    site = after.url.split("/", 3)[:3]
    missing = b"<html><head><title>404</title></head><body><p>No such page.</p></body></html>"
    return [
        Capture("/".join([*site, "gone.html"]), after.date, "text/html", missing, "404 Not Found"),
        Capture("/".join([*site, "pixel.png"]), after.date, "image/png", ONE_PIXEL_PNG),
    ]


def http_response(capture: Capture) -> tuple[bytes, bytes]:
    """Return the head and the body of the HTTP answer."""
    head = (
        f"HTTP/1.1 {capture.status}\r\n"
        "Server: sample\r\n"
        f"Content-Type: {capture.content_type}\r\n"
        f"Content-Length: {len(capture.body)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode(), capture.body


def http_request(capture: Capture) -> bytes:
    """Return the HTTP request that the answer belongs to."""
    _, _, host, path = capture.url.split("/", 3)
    return (
        f"GET /{path} HTTP/1.1\r\nUser-Agent: sample-crawler\r\nHost: {host}\r\n"
        "Accept: text/html\r\nConnection: close\r\n\r\n"
    ).encode()


def digest(data: bytes) -> str:
    """Return a SHA-1 in the base-32 form of a WARC digest header."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def record_id(kind: str, name: str) -> str:
    """Return a record id that depends on nothing but the kind of record and its URL."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name}#{kind}')}>"


def warc_record(kind: str, name: str, date: str, fields: dict[str, str], block: bytes) -> bytes:
    """Return one WARC record as a gzip member of its own."""
    head = {
        "WARC-Type": kind,
        "WARC-Date": date,
        "WARC-Record-ID": record_id(kind, name),
        "Content-Length": str(len(block)),
        **fields,
        "WARC-Block-Digest": digest(block),
    }
    lines = "".join(f"{key}: {value}\r\n" for key, value in head.items())
    return gzip_member(f"WARC/1.0\r\n{lines}\r\n".encode() + block + b"\r\n\r\n")


def warcinfo_record(file_name: str, date: str) -> bytes:
    """Return the record that opens a WARC file."""
    fields = {"Content-Type": "application/warc-fields", "WARC-Filename": file_name}
    block = b"isPartOf: CC-NEWS\r\nformat: WARC File Format 1.0\r\n"
    return warc_record("warcinfo", file_name, date, fields, block)


def response_record(capture: Capture) -> bytes:
    """Return the response record of a capture."""
    head, body = http_response(capture)
    fields = {
        "Content-Type": "application/http; msgtype=response",
        "WARC-IP-Address": "192.0.2.1",
        "WARC-Target-URI": capture.url,
        "WARC-Payload-Digest": digest(body),
    }
    return warc_record("response", capture.url, capture.date, fields, head + body)


def side_record(kind: str, capture: Capture, content_type: str, block: bytes) -> bytes:
    """Return a record that stands beside a response: its request or its metadata."""
    fields = {
        "Content-Type": content_type,
        "WARC-Target-URI": capture.url,
        "WARC-Concurrent-To": record_id("response", capture.url),
    }
    return warc_record(kind, capture.url, capture.date, fields, block)


def capture_records(capture: Capture) -> bytes:
    """Return the request, the response, and the metadata of a capture."""
    request = http_request(capture)
    fetched = b"fetchTimeMs: 212\r\n"
    return b"".join(
        [
            side_record("request", capture, "application/http; msgtype=request", request),
            response_record(capture),
            side_record("metadata", capture, "application/warc-fields", fetched),
        ]
    )


def whole_warc(file_name: str) -> bytes:
    """Return the WARC of all news pages, with two captures that hold no article."""
    captures = [read_capture(path) for path in source_paths(SOURCES / "news", "*.html")]
    captures[1:1] = failed_captures(captures[0])
    records = b"".join(capture_records(capture) for capture in captures)
    return warcinfo_record(file_name, captures[0].date) + records


def broken_warc(file_name: str) -> bytes:
    """Return a WARC of three responses, the middle one spoiled inside its gzip member."""
    captures = [read_capture(path) for path in source_paths(BROKEN, "*.html")]
    first, middle, last = (response_record(capture) for capture in captures)
    opening = warcinfo_record(file_name, captures[0].date)
    return opening + first + flip_middle(middle) + last


def news_files() -> RawFiles:
    """Return the whole and the broken WARC file."""
    whole, broken = "CC-NEWS-20161003080000-00001.warc.gz", "CC-NEWS-20161004090000-00002.warc.gz"
    return {f"news/{whole}": whole_warc(whole), f"news/{broken}": broken_warc(broken)}


# ---------------------------------------------------------------- OpenWebText


def web_document(path: Path) -> tuple[str, bytes]:
    """Return a document's name in the archive, its number and its MD5, and its text."""
    text = read_text(path).encode()
    number = path.name.partition("-")[0]
    return f"{number}-{hashlib.md5(text).hexdigest()}.txt", text


def inner_archive(paths: Iterable[Path]) -> bytes:
    """Return the xz-compressed tar of some documents."""
    return lzma.compress(tar_archive(web_document(path) for path in paths))


def openwebtext_files() -> RawFiles:
    """Return the tar of archives, the last of which is cut short."""
    paths = source_paths(SOURCES / "openwebtext", "*.txt")
    half = (len(paths) + 1) // 2
    subsets = {
        "urlsf_subset00-1_data": inner_archive(paths[:half]),
        "urlsf_subset00-2_data": inner_archive(paths[half:]),
        "urlsf_subset01-1_data": cut(inner_archive(source_paths(BROKEN, "*.owt.txt")), 60),
    }
    members = ((f"openwebtext/{name}.xz", data) for name, data in subsets.items())
    return {"openwebtext/openwebtext.tar": tar_archive(members)}


# ---------------------------------------------------------------- stories

# In this order: quotes before the marks that may touch them, brackets last, since -LRB- is a token.
TREEBANK_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'(^|[\s(\[]|--)"', r"\1 `` "),
        (r'"', " '' "),
        (r"\.\.\.", " ... "),
        (r"--|—", " -- "),
        (r"([;@#$%&?!])", r" \1 "),
        # Between digits a comma or a colon belongs to the number or the hour.
        (r"([,:])(?!\d)", r" \1 "),
        # Only the last period ends the sentence; that of an abbreviation stays with its word.
        (r"(?<![.\s])\.(?=[\s\])}']*$)", " . "),
        (r"(?i)\b(can)(not)\b", r"\1 \2"),
        (r"(?i)\b(gon|wan)(na)\b", r"\1 \2"),
        (r"(?i)(?<=\w)(n't)\b", r" \1"),
        (r"(?i)(?<=\w)('(?:s|m|d|ll|re|ve))\b", r" \1"),
        (r"(?<=s)'(?=\s)", " '"),
        (r"\(", " -LRB- "),
        (r"\)", " -RRB- "),
        (r"\[", " -LSB- "),
        (r"\]", " -RSB- "),
    )
]


def treebank(sentence: str) -> str:
    """Tokenize a sentence the way the Penn Treebank does."""
    for pattern, replacement in TREEBANK_RULES:
        sentence = pattern.sub(replacement, sentence)
    return " ".join(sentence.split())


def story_lines(path: Path) -> str:
    """Return a story with a tokenized sentence on each line."""
    return "".join(f"{treebank(line)}\n" for line in read_text(path).split("\n"))


def story_file(paths: Iterable[Path]) -> bytes:
    """Return stories with a blank line between them."""
    return "\n".join(story_lines(path) for path in paths).encode()


def stories_files() -> RawFiles:
    """Return the story files, the last of them gzipped and cut short."""
    paths = source_paths(SOURCES / "stories", "*.txt")
    broken = gzip_member(story_file(source_paths(BROKEN, "*.story.txt")))
    return {
        "stories/stories_000.txt": story_file(paths[:STORIES_PER_FILE]),
        "stories/stories_001.txt": story_file(paths[STORIES_PER_FILE:]),
        "stories/stories_002.txt.gz": cut(broken, 70),
    }


# ---------------------------------------------------------------- letters

NOT_JSON = '{"id": "letter-94", "title": "The Torn Page", "date": "1888-01-01", "text": "It was\n'
NO_TEXT = '{"id": "letter-95", "title": "An Empty Envelope", "date": "1901-09-09"}\n'


def letter_line(path: Path) -> str:
    """Return a letter as one line of JSON."""
    letter = read_source(path)
    fields = {"id": letter.name, **letter.head, "text": letter.body}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def letters_files() -> RawFiles:
    """Return the letters, and three more with two bad lines between them."""
    lines = "".join(letter_line(path) for path in source_paths(SOURCES / "letters", "*.txt"))
    first, second, third = (letter_line(path) for path in source_paths(BROKEN, "*.letter.txt"))
    broken = first + NOT_JSON + second + NO_TEXT + third
    return {
        "letters/letters.jsonl.gz": gzip_member(lines.encode()),
        "letters/broken.jsonl": broken.encode(),
    }


# ---------------------------------------------------------------- command


BUILDERS = (
    wikipedia_files,
    books_files,
    news_files,
    openwebtext_files,
    stories_files,
    letters_files,
)


def build(out: Path) -> None:
    """Write all raw files below a folder."""
    for builder in BUILDERS:
        for name, data in builder().items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by their relative names."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def differing_files(out: Path) -> list[str]:
    """Return the names of the files that a fresh build would add, drop, or change."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        fresh, present = folder_bytes(Path(folder)), folder_bytes(out)
    names = sorted(fresh.keys() | present.keys())
    return [name for name in names if fresh.get(name) != present.get(name)]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLES / "raw", help="folder to write")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the raw files, or check the ones that are there."""
    options = parse_arguments(arguments)
    if not options.check:
        build(options.out)
        return 0
    differing = differing_files(options.out)
    for name in differing:
        print(f"differs: {name}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
