"""One spelling for all the URLs that lead to the same page.

    URL ──split──> host, path, query ──each normalized──> "http://host/path?query", or "" for what is no web page

What is taken as the same, after RFC 3986 section 6 and the habits of web sites:

- the scheme (http or https), letter case of scheme and host, a name and password, the ports 80 and 443, leading `www.`
  labels and the final dot of the host, an internationalized host and its punycode;
- the fragment (`#...`), slashes at the end of the path, `.` and `..` segments, session ids in the path;
- escapes of letters, digits and `-._~`, letter case of escapes, characters that stand unescaped where they may not;
- the order of the query's parameters, empty ones, HTML's `&amp;` for `&`, and parameters that only follow the visitor.

Letter case of path and query, `index.html`, doubled slashes inside the path, and `m.` hosts make different pages.
`canonical_url(canonical_url(url)) == canonical_url(url)`, and the result is in ASCII.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MAXIMUM_CHARACTERS = 8192  # longer URLs are no pages' (data in disguise)
TRACKING_PREFIXES = ("utm_", "pk_", "mtm_", "__hs", "_hs", "hsa_", "vero_", "at_campaign", "at_medium", "ga_")
TRACKING = frozenset({  # parameters that name the visitor or where they came from, never the page
    "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "yclid", "twclid", "ttclid", "igshid", "igsh",
    "mc_cid", "mc_eid", "mkt_tok", "_ga", "_gl", "_openstat", "ocid", "ncid", "cmpid", "icid", "smid", "wt.mc_id",
    "s_cid", "xtor", "phpsessid", "jsessionid",
})
DEFAULT_PORTS = (80, 443)

_SPLIT = re.compile(r"https?://+([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_PORT = re.compile(r":([0-9]{0,5})\Z")
_PLAIN = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]|]*")  # needs no work on its escapes
_TO_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|%|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]|%]")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_SESSION = re.compile(r";jsessionid=[^/;]*", re.IGNORECASE)
_AMPERSANDS = re.compile(r"(?:amp;)+")


def canonical_url(url: str) -> str:
    """The canonical form of an http or https URL in ASCII; "" for anything else. Takes linear time."""
    if len(url) > MAXIMUM_CHARACTERS:
        return ""
    parts = _SPLIT.match(_CONTROL.sub("", url).strip())
    if parts is None or not (host := _host(parts[1])):
        return ""
    query = _query(parts[3]) if parts[3] else ""
    return f"http://{host}{_path(parts[2])}{query}"


def plain_url(url: str) -> str:
    """A URL as it can be asked for and written on a line: as it was, without control characters and HTML's `&amp;`."""
    plain = _CONTROL.sub("", url).strip().replace("&amp;", "&")
    return plain if plain.isprintable() and " " not in plain else canonical_url(url)


def host_of(canonical: str) -> str:
    """The host of a canonical URL, without its port."""
    authority = canonical[len("http://") :].partition("/")[0].partition("?")[0]
    return _PORT.sub("", authority)


def path_of(canonical: str) -> str:
    """The path of a canonical URL: "" or what starts with a slash."""
    _, slash, path = canonical.partition("?")[0][len("http://") :].partition("/")
    return slash + path


def _host(authority: str) -> str:
    host = authority.rpartition("@")[2].strip()
    port = _PORT.search(host)
    if port is not None:
        host = host[: port.start()]
    if "%" in host:
        host = unquote(host)
    host = host.lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return ""
    host = host.rstrip(".")
    while host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    if not _HOST.fullmatch(host):
        return ""
    if port is None or not port[1] or int(port[1]) in DEFAULT_PORTS:
        return host
    return f"{host}:{int(port[1])}"


def _path(path: str) -> str:
    path = _escape(path)
    if ";" in path:
        path = _SESSION.sub("", path)
    if "/." in path:
        path = _without_dots(path)
    return path.rstrip("/")


def _without_dots(path: str) -> str:
    """RFC 3986, section 5.2.4, for a path that starts with a slash; what is above the root is the root."""
    kept: list[str] = []
    names = path.split("/")[1:]
    for name in names:
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    return "".join(f"/{name}" for name in kept)


def _query(query: str) -> str:
    parameters = []
    for parameter in _escape(query).split("&"):
        parameter = parameter[end.end() :] if (end := _AMPERSANDS.match(parameter)) else parameter
        if parameter and not _is_tracking(parameter.partition("=")[0].lower()):
            parameters.append(parameter)
    return f"?{'&'.join(sorted(parameters))}" if parameters else ""


def _is_tracking(name: str) -> bool:
    return name in TRACKING or name.startswith(TRACKING_PREFIXES)


def _escape(text: str) -> str:
    """Undo escapes of unreserved characters, write the others in upper case, escape what may not stand as it is."""
    return text if _PLAIN.fullmatch(text) else _TO_ESCAPE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) == 3:
        character = chr(int(text[1:], 16))
        return character if _UNRESERVED.fullmatch(character) else text.upper()
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
