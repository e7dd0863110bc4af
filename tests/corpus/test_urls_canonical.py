"""One spelling for all the URLs of a page, and which URLs are no pages."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.urls_blacklist import load_blacklist
from rbt.errors import ConfigError
from rbt.formats.canonical_url import canonical_url, host_of, path_of, plain_url

SAME = [
    "http://example.com/a/b?x=1&y=2",
    "https://example.com/a/b?x=1&y=2",
    "HTTP://WWW.EXAMPLE.COM/a/b?x=1&y=2",
    "http://example.com:80/a/b?x=1&y=2",
    "https://example.com:443/a/b?x=1&y=2",
    "http://user:word@www.example.com./a/b/?x=1&y=2",
    "http://example.com/a/b?y=2&x=1",
    "http://example.com/a/b?x=1&amp;y=2",
    "http://example.com/a/b?&x=1&&y=2&",
    "http://example.com/a/b?x=1&y=2#comments",
    "http://example.com/a/b?utm_source=reddit&x=1&UTM_Campaign=z&y=2&fbclid=Iw&gclid=7",
    "http://example.com/./a/c/../b?x=1&y=2",
    "http://example.com/%61/%62?%78=1&y=%32",
    "http://example.com/a/b;jsessionid=0A?x=1&y=2&PHPSESSID=77",
    "  http://example.com/a\n/b?x=1&y=2\t",
]
DIFFERENT = [
    "http://example.com", "http://example.com/A", "http://example.com/a", "http://example.com/a?x", "http://example.com/a?x=",
    "http://example.com/a?x=%26", "http://example.com/a?x=1&x=1", "http://example.com/a/index.html",
    "http://example.com:8080/a", "http://m.example.com/a", "http://example.org/a", "http://example.com/b//c",
    "http://example.com/b/c", "http://example.com/a%2Fb", "http://example.com/a/b",
]
PIECES = st.sampled_from(
    ["/", "..", ".", "%", "%2E", "%2e", "%41", "%zz", "%%34%31", "?", "&", "&amp;", "%61mp;", "amp;", "=", "#",
     ";jsessionid=1", ";", "utm_a=1", "utm%5Fa", "www.", "www.com", ":80", ":8080", "@", "[::1]", "é", "ß", "İ",
     "日本", "\ud800", "\\", " ", "\t", "\x00", "a", "B", "+", "|", "~"]
)


@pytest.mark.parametrize("url", SAME)
def test_spellings_of_one_page_are_one_url(url: str) -> None:
    """Each of the listed differences leads to the same page."""
    assert canonical_url(url) == SAME[0]


def test_different_pages_stay_different() -> None:
    """What may be another page is another URL."""
    assert len({canonical_url(url) for url in DIFFERENT}) == len(DIFFERENT)


@given(
    st.sampled_from(["http://", "HTTPS://www.", "http://a.b/", "http://a.b/?", "http:///"]),
    st.lists(PIECES, max_size=12),
)
def test_the_canonical_url_of_a_canonical_url_is_itself(start: str, pieces: list[str]) -> None:
    """Whatever odd pieces a URL is made of, one pass is enough, and gives ASCII with a host."""
    canonical = canonical_url(start + "".join(pieces))
    assert canonical_url(canonical) == canonical
    assert canonical.isascii()
    if canonical:
        assert re.fullmatch(r"http://[^/?#\s]+(/[^?#\s]*)?(\?[^#\s]+)?", canonical)
        assert (urlsplit(canonical).hostname or "").strip("[]") == host_of(canonical).strip("[]")
        assert urlsplit(canonical).path == path_of(canonical)


@given(st.text(max_size=60))
def test_any_text_has_a_canonical_form_or_none(text: str) -> None:
    """Nothing raises, be it a URL or not."""
    for url in (text, f"http://{text}", f"http://a.b/{text}"):
        canonical = canonical_url(url)
        assert canonical_url(canonical) == canonical
        assert canonical_url(plain_url(url)) == canonical


@given(st.permutations(["a=1", "b=2", "c", "utm_x=9", "d=%20"]), st.booleans(), st.booleans(), st.booleans())
def test_variants_made_at_random_are_one_url(parameters: list[str], secure: bool, www: bool, slash: bool) -> None:
    """Every combination of the differences, not only each alone."""
    scheme, prefix, end = "https" if secure else "HTTP", "WWW." if www else "", "/" if slash else ""
    url = f"{scheme}://{prefix}Example.com/p{end}?{'&'.join(parameters)}#x"
    assert canonical_url(url) == "http://example.com/p?a=1&b=2&c&d=%20"


@pytest.mark.parametrize(
    "url",
    ["", "ftp://example.com/a", "mailto:a@b.c", "//example.com/a", "example.com", "http://", "http://?x", "http://a b/",
     "http://a.b:99999999/", "javascript:alert(1)", "http://a.b/" + "x" * 9000],
)
def test_what_is_no_page_has_no_canonical_url(url: str) -> None:
    """Other schemes, no host, no sense, no end."""
    assert canonical_url(url) == ""


def test_hosts_of_other_scripts_are_punycode() -> None:
    """A name and its ASCII form are one host."""
    assert canonical_url("http://Bücher.de/ä") == canonical_url("https://xn--bcher-kva.de/%C3%A4") != ""


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://en.wikipedia.org/wiki/Roof", "domain"),
        ("http://www.youtube.com/watch?v=1", "domain"),
        ("http://i.imgur.com/x", "domain"),
        ("http://notimgur.com/x", ""),
        ("http://imgur.com.example.net/x", ""),
        ("http://example.com/photo.JPG", "extension"),
        ("http://example.com/photo.jpg?size=1", "extension"),
        ("http://example.com/photo.jpg/", "extension"),
        ("http://example.com/a.html", ""),
        ("http://example.com/photo.jpg/about", ""),
        ("http://example.zip", ""),
        ("http://example.com/?file=a.jpg", ""),
        ("http://example.com:8080/a.pdf", "extension"),
    ],
)
def test_the_blacklist_goes_by_host_and_by_ending(url: str, rule: str) -> None:
    """A domain stands for what is below it, an ending for the path's."""
    assert load_blacklist().rule(canonical_url(url)) == rule


def test_users_add_to_the_blacklist(tmp_path: Path) -> None:
    """Domains in any spelling, endings with their dot, comments; anything else is an error that names the line."""
    path = tmp_path / "list"
    path.write_text("# mine\nWWW.Example.com  # and below\n.HTML\n\nbücher.de\n", encoding="utf-8")
    ours, theirs = load_blacklist(), load_blacklist([str(path)])
    pages = {"http://sub.example.com/": "domain", "http://a.b/x.html": "extension", "http://bücher.de": "domain"}
    for url, rule in pages.items():
        assert ours.rule(canonical_url(url)) == ""
        assert theirs.rule(canonical_url(url)) == rule
    assert ours.fingerprint != theirs.fingerprint
    path.write_text("example.com\nexample.com/path\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2: expected a domain or a \.extension"):
        load_blacklist([str(path)])
