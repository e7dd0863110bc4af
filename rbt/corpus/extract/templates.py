"""The few wikitext templates that carry text of the sentence they stand in; all others are dropped.

A template gets its positional and its named parameters, already plain text, and returns what it stands for. The
set follows what English Wikipedia's running text uses most; what a template page would compute is not attempted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Render = Callable[[Sequence[str], Mapping[str, str]], str]

RANGE = {
    "to": " to ", "-": "–", "–": "–", "to(-)": " to ", "and": " and ", "and(-)": " and ", "or": " or ", "by": " by ",
    "x": " × ", "×": " × ", "xx": " × ", "+/-": " ± ", "±": " ± ",
}
UNITS = {
    "km2": "km²", "m2": "m²", "cm2": "cm²", "km3": "km³", "m3": "m³", "sqmi": "sq mi", "sqft": "sq ft", "sqkm": "km²",
    "cuft": "cu ft", "C": "°C", "F": "°F", "C-change": "°C", "F-change": "°F", "kn": "knots",
}
_NUMBER = re.compile(r"[-−+]?[\d.,/]+(?:e[-+]?\d+)?$")


def first(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The first parameter."""
    return positional[0] if positional else named.get("1", "")


def second(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The second parameter."""
    return positional[1] if len(positional) > 1 else named.get("2", named.get("text", ""))


def last(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The last parameter."""
    return positional[-1] if positional else ""


def quotation(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """A block quotation as a paragraph of its own."""
    text = named.get("text") or named.get("quote") or first(positional, named)
    return f"\n\n{text}\n\n" if text else ""


def convert(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The measure as it was given, without its conversion: 5 km; 5 to 10 km; 5 ft 11 in."""
    values = list(positional)
    parts: list[str] = []
    while values and _NUMBER.match(values[0]):
        number = format_number(values.pop(0))
        if values and values[0] in RANGE:
            parts.append(f"{number}{RANGE[values.pop(0)]}")
            continue
        unit = values.pop(0) if values else ""
        parts.append(f"{number} {UNITS.get(unit, unit)}")
        if len(values) >= 2 and _NUMBER.match(values[0]) and values[1] in ("in", "oz", "lb"):
            parts[-1] += " "
            continue
        break
    return "".join(parts).strip() or first(positional, named)


def format_number(value: str) -> str:
    """Digits in groups of three, as English has them: 1234567.5 -> 1,234,567.5."""
    value = value.strip()
    if not re.fullmatch(r"[-−+]?\d{1,100}(?:\.\d*)?", value):
        return value
    sign = value[0] if value[0] in "-−+" else ""
    whole, point, fraction = value[len(sign) :].partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}" if len(whole) > 3 and whole[0] != "0" else value


def value_with_unit(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{val|1234|u=km}}."""
    unit = named.get("u") or named.get("ul") or ""
    return f"{format_number(first(positional, named))} {UNITS.get(unit, unit)}".strip()


def fraction(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{frac|3|1|2}} -> 3 1/2."""
    if len(positional) == 1:
        return f"1/{positional[0]}"
    return " ".join([*positional[:-2], "/".join(positional[-2:])])


def joined(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The parameters in a row."""
    return " ".join(part for part in positional if part)


def constant(text: str) -> Render:
    """A template without parameters."""
    return lambda positional, named: text


def before_first(text: str) -> Render:
    """Fixed text, then the first parameter."""
    return lambda positional, named: text + first(positional, named) if first(positional, named) else ""


def ship(prefix: str) -> Render:
    """{{HMS|Victory|1765|6}}: the name behind the prefix."""
    return lambda positional, named: f"{prefix} {first(positional, named)}"


TEMPLATES: dict[str, Render] = {
    **dict.fromkeys(("convert", "cvt", "convinfobox"), convert),
    **dict.fromkeys(
        (
            "nowrap", "nobr", "nobreak", "small", "smaller", "big", "larger", "abbr", "tooltip", "sic", "ill", "sup",
            "sub", "interlanguage link", "nihongo", "nihongo2", "linktext", "mvar", "math", "em", "strong", "sc",
            "smallcaps", "not a typo", "as written", "proper name", "var", "kbd", "code", "mono", "visible anchor",
            "vanchor", "annotated link", "keypress", "notatypo", "no italic", "noitalic",
        ),
        first,
    ),
    **dict.fromkeys(("lang", "langx", "color", "font color", "rtl-lang", "resize"), second),
    **dict.fromkeys(("transl", "transliteration", "font"), last),
    **dict.fromkeys(("quote", "blockquote", "bquote", "cquote", "quotation", "rquote", "poemquote"), quotation),
    **dict.fromkeys(("frac", "fraction", "sfrac"), fraction),
    **dict.fromkeys(("circa", "c."), before_first("c. ")),
    **dict.fromkeys(("as of", "asof"), before_first("As of ")),
    **dict.fromkeys(("us$", "usd"), before_first("US$")),
    **dict.fromkeys(("gbp", "£"), before_first("£")),
    **dict.fromkeys(("euro", "€", "eur"), before_first("€")),
    **dict.fromkeys(("inr", "₹", "indian rupee"), before_first("₹")),
    **dict.fromkeys(("ndash", "endash", "en dash"), constant("–")),
    **dict.fromkeys(("mdash", "emdash", "em dash"), constant("—")),
    **dict.fromkeys(("snd", "spnd", "spaced ndash", "spaced en dash"), constant(" – ")),
    **dict.fromkeys(("nbsp", "space", "spaces", "nnbsp"), constant(" ")),
    "'": constant("'"),
    '"': first,
    "val": value_with_unit,
    "ship": joined,
    **{name.lower(): ship(name) for name in ("HMS", "USS", "SS", "RMS", "HMAS", "HMCS", "MV", "USCGC", "SMS")},
}


def render_template(content: str) -> str:
    """What a template stands for; "" for all that are not known. `content`: what stands between the braces."""
    head, *rest = content.split("|")
    name = " ".join(head.replace("_", " ").split()).lower()
    if name.startswith("formatnum:"):
        return format_number(head.partition(":")[2])
    if name.startswith(("lc:", "uc:", "ucfirst:", "lcfirst:")):
        return head.partition(":")[2].strip()
    render = TEMPLATES.get(name)
    if render is None:
        if not re.fullmatch(r"lang-[a-z-]{2,12}", name):
            return ""
        render = first
    positional: list[str] = []
    named: dict[str, str] = {}
    for parameter in rest:
        key, equals, value = parameter.partition("=")
        if equals and len(key) <= 40 and re.fullmatch(r"\s*[\w -]+\s*", key):
            named[key.strip().lower()] = value.strip()
        else:
            positional.append(parameter.strip())
    for number in sorted(int(key) for key in named if key.isascii() and key.isdigit() and len(key) < 3):
        if number == len(positional) + 1:
            positional.append(named[str(number)])
    return render(positional, named)
