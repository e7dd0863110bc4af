"""The wikitext templates that carry text of the sentence they stand in; all others are dropped, and counted by name.

A template gets its positional and its named parameters, already plain text, and returns what it stands for. The set
follows what English Wikipedia's running text uses: what its reader sees is given, except that nothing is converted
or looked up. Pronunciations are given as they are written, without a label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from rbt.corpus.extract.wikitext_dates import as_of, before, circa, date, death_date_and_age
from rbt.corpus.extract.wikitext_measures import (
    convert,
    digits,
    format_number,
    fraction,
    height,
    ordinal,
    power,
    power_of_ten,
    value_with_unit,
)

Render = Callable[[Sequence[str], Mapping[str, str]], str]

_LABELS = {  # of {{zh}} and {{korean}}, in the order they are shown
    "c": "Chinese", "s": "simplified Chinese", "t": "traditional Chinese", "p": "pinyin", "w": "Wade–Giles",
    "j": "Jyutping", "y": "Yale", "poj": "Pe̍h-ōe-jī", "l": "lit.", "lit": "lit.", "hangul": "Korean",
    "hanja": "Hanja", "rr": "RR", "mr": "MR",
}
_KEY = re.compile(r"\s*[\w -]{1,40}\s*$")


def first(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The first parameter."""
    return positional[0] if positional else named.get("text", "")


def second(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The second parameter."""
    return positional[1] if len(positional) > 1 else named.get("2", named.get("text", ""))


def last(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The last parameter."""
    return positional[-1] if positional else ""


def label_or_first(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """What an interlanguage link shows: `lt`, else the first parameter."""
    return named.get("lt") or first(positional, named)


def second_or_first(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{url|address|text}}, {{sort|key|text}}."""
    return second(positional, named) or first(positional, named)


def quotation(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """A block quotation as a paragraph of its own."""
    text = named.get("text") or named.get("quote") or first(positional, named)
    return f"\n\n{text}\n\n" if text else ""


def joined(separator: str) -> Render:
    """The parameters in a row."""
    return lambda positional, named: separator.join(part for part in positional if part)


def constant(text: str) -> Render:
    """A template that always stands for the same."""
    return lambda positional, named: text


def around(head: str, tail: str = "") -> Render:
    """The first parameter between fixed text."""
    return lambda positional, named: head + positional[0] + tail if positional and positional[0] else ""


def years(word: str) -> Render:
    """A word before years."""
    return lambda positional, named: before(word, positional)


def ship(prefix: str) -> Render:
    """{{HMS|Victory|1765|6}}: the name behind the prefix."""
    return around(f"{prefix} ")


def ship_class(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{sclass|Nimitz|aircraft carrier}} -> Nimitz-class aircraft carrier."""
    return " ".join([f"{positional[0]}-class", *positional[1:2]]) if positional else ""


def ipa(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{IPA|/x/}}, {{IPA|fr|x}} -> [x]: the transcription."""
    if len(positional) > 1 and re.match(r"[a-z]{2,3}(?:-[a-zA-Z]{2,8})?$", positional[0]):
        text = positional[1]
        return text if text[:1] in "[/⟨" else f"[{text}]"
    return first(positional, named)


def ipa_symbols(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{IPAc-en|ˈ|k|æ|t}} -> /ˈkæt/; words among the symbols are labels."""
    signs = {"'": "ˈ", ",": "ˌ", "_": " ", "-": "", ",_": ", "}
    labels = ("lang", "local", "pron", "audio", "also", "us", "uk")
    text = "".join(signs.get(part, part) for part in positional if part not in labels)
    return f"/{text}/" if text else ""


def nihongo(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{nihongo|English|kanji|romaji|extra}} -> English (kanji, romaji, extra)."""
    inside = ", ".join(part for part in positional[1:4] if part)
    head = first(positional, named)
    return " ".join(part for part in (head, f"({inside})" if inside else "") if part)


def labelled(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{zh|s=x|p=y}} -> simplified Chinese: x; pinyin: y."""
    parts = [f"{label}: {named[key]}" for key, label in _LABELS.items() if named.get(key)]
    return "; ".join([*parts, *(part for part in positional if part)])


def bible_verse(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{bibleverse|1|John|3:16|KJV}} -> 1 John 3:16."""
    end = next((number for number, part in enumerate(positional) if ":" in part), len(positional)) + 1
    return " ".join(part for part in positional[:end] if part)


def author_and_year(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{harvtxt|Smith|Jones|2001}} -> Smith & Jones (2001), a part of its sentence."""
    *authors, year = positional or [""]
    shown = " & ".join(authors) if len(authors) < 3 else ", ".join(authors[:-1]) + f" & {authors[-1]}"
    return f"{shown} ({year})" if authors else ""


TEMPLATES: dict[str, Render] = {
    **dict.fromkeys(("convert", "cvt", "convinfobox"), convert),
    "height": height,
    **dict.fromkeys(
        """nowrap nobr nobreak small smaller big larger abbr tooltip sic sub smallsub linktext mvar math em strong sc
        var smallcaps kbd code mono vanchor notatypo noitalic unicode polytonic nastaliq hebrew script tt samp chem2 su
        flag flagu flagcountry nobold typo nq tq bold italic bigmath smallmath overline underline native ipalink
        wikt-lang chinese respelling abbrlink ins del nbspm strikethrough midsize""".split(),
        first,
    ),
    **dict.fromkeys(
        (
            "not a typo", "as written", "proper name", "visible anchor", "no italic", "small caps", "smallcaps all",
            "citation needed span", "cn span", "cnspan", "fact span", "clarify span", "dubious span",
            "failed verification span", "better source needed span", "normal", "no bold", "font-size", "key", "button",
        ),
        first,
    ),
    **dict.fromkeys(("ill", "interlanguage link", "illm", "annotated link"), label_or_first),
    **dict.fromkeys(("lang", "langx", "color", "font color", "rtl-lang", "resize", "native name"), second),
    **dict.fromkeys(("transl", "transliteration", "font", "xlit"), last),
    **dict.fromkeys(("url", "sort", "plain link"), second_or_first),
    **dict.fromkeys(("nihongo", "nihongo3", "nihongo foot", "nihongo krt"), nihongo),
    "nihongo2": first,
    **dict.fromkeys(("zh", "lang-zh", "korean", "zh-cn", "zh-tw"), labelled),
    **dict.fromkeys(
        (
            "quote", "blockquote", "bquote", "cquote", "quotation", "rquote", "poemquote", "poem quote", "quote box",
            "quotebox", "block quote", "block quotation", "pull quote", "pullquote", "centered pull quote",
            "verse quote", "talkquote", "long quote", "quote block",
        ),
        quotation,
    ),
    **dict.fromkeys(("frac", "fraction", "sfrac"), fraction),
    **dict.fromkeys(("val", "nts", "formatnum"), value_with_unit),
    **{"e": power_of_ten, "10^": power, **dict.fromkeys(("sup", "smallsup"), around("<sup>", "</sup>"))},
    **dict.fromkeys(("ordinal", "ord"), ordinal),
    **dict.fromkeys(("gaps", "chem", "ce"), digits),
    **dict.fromkeys(("sqrt", "radic", "surd"), around("√")),
    **dict.fromkeys(("circa", "c.", "ca."), circa),
    **dict.fromkeys(("floruit", "fl.", "fl"), years("fl.")),
    **dict.fromkeys(("reign", "r."), years("r.")),
    **dict.fromkeys(("as of", "asof"), as_of),
    **dict.fromkeys(
        (
            "birth date", "birth date and age", "birth-date", "birth-date and age", "birthdate and age", "birthdate",
            "bda", "dob", "death date", "death-date", "start date", "start date and age", "start-date", "end date",
            "end-date", "date", "dts", "film date", "release date", "birth year and age", "birth year", "formatdate",
            "opening date", "launch date", "start date and years ago", "birth based on age as of date",
        ),
        date,
    ),
    **dict.fromkeys(("death date and age", "death-date and age", "dda", "deathdateandage"), death_date_and_age),
    **dict.fromkeys(("us$", "usd", "usdollar"), around("US$")),
    **dict.fromkeys(("gbp", "£", "pound sterling", "gb£"), around("£")),
    **dict.fromkeys(("euro", "€", "eur"), around("€")),
    **dict.fromkeys(("inr", "₹", "indian rupee"), around("₹")),
    **dict.fromkeys(("jpy", "¥", "yen", "cny"), around("¥")),
    **dict.fromkeys(("a$", "aud"), around("A$")),
    **dict.fromkeys(("ndash", "endash", "en dash", "–"), constant("–")),
    **dict.fromkeys(("mdash", "emdash", "em dash", "—"), constant("—")),
    **dict.fromkeys(("snd", "spnd", "spaced ndash", "spaced en dash", "spaced endash", "dash"), constant(" – ")),
    **dict.fromkeys(("mdashb", "spaced mdash"), constant(" — ")),
    **dict.fromkeys(("nbsp", "space", "spaces", "nnbsp", "thinsp", "hair space", "thin space", "br"), constant(" ")),
    **dict.fromkeys(("·", "•", "dot", "middot", "bullet"), constant(" · ")),
    **dict.fromkeys(("'", "`", "apostrophe"), constant("&#39;")),  # as it is it could close italics
    **{name: constant(name.replace("'", "&#39;")) for name in ("' \"", "\" '", "'\"", "\"'", "'s")},
    **{"=": constant("="), "!": constant("&#124;"), "okina": constant("ʻ"), "minus": constant("−")},
    **{"eqm": constant("⇌"), "pm": constant("±"), "times": constant("×"), "ayin": constant("ʿ")},
    **{"pi": constant("π"), "\\": constant(" / "), "(": constant("("), ")": constant(")"), "shy": constant("")},
    **{"flat": constant("♭"), "sharp": constant("♯"), "natural": constant("♮")},
    "music": lambda positional, named: {"flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮"}.get(
        first(positional, named), first(positional, named)
    ),
    **dict.fromkeys(('"', "qi", "tqq", "tqi"), around('"', '"')),
    **dict.fromkeys(("gloss", "single quote", "single+double"), around("'", "'")),
    **dict.fromkeys(("lit", "literally", "literal translation"), around("lit. '", "'")),
    **dict.fromkeys(("angbr", "angle bracket", "angbr ipa"), around("⟨", "⟩")),
    "ipa": ipa,
    "ipablink": around("[", "]"),
    "respell": joined("-"),
    **dict.fromkeys(("keypress", "key press"), joined("+")),
    **dict.fromkeys(("bibleverse", "bibleref", "bibleref2", "bibleverse-lb"), bible_verse),
    **dict.fromkeys(("sortname", "ship"), joined(" ")),
    **dict.fromkeys(("post-nominals", "postnominals", "post nominals"), joined(", ")),
    **dict.fromkeys(("harvtxt", "harvcoltxt"), author_and_year),
    **dict.fromkeys(("sclass", "sclass-", "sclass2", "sclass2-"), ship_class),
    **{
        name.lower(): ship(name)
        for name in "HMS USS SS RMS HMAS HMCS HMNZS HMIS INS MV MS MY USCGC USNS USAT SMS USAV ORP RFA".split()
    },
}
PREFIXED: dict[str, Render] = {  # families: what the name begins with
    "lang-": first, "ipa-": around("[", "]"), "ipac-": ipa_symbols, "script/": first,
}
FUNCTIONS = ("formatnum:", "lc:", "uc:", "ucfirst:", "lcfirst:")
PREFIXES = (*PREFIXED, *FUNCTIONS)


@lru_cache(1 << 14)
def template_name(content: str) -> str:
    """The name that a template's content begins with, as it is counted; a function's name ends before its colon."""
    name = " ".join(content.partition("|")[0].replace("_", " ").split()).lower()
    return (name.partition(":")[0] or name)[:60].encode("utf-8", "ignore").decode()  # without marks


def render_template(content: str) -> str | None:
    """What a template stands for; None for those that are not known. `content`: what stands between the braces."""
    head, *rest = content.split("|")
    name = " ".join(head.replace("_", " ").split()).lower()
    function, colon, argument = head.partition(":")
    if colon and name.startswith(FUNCTIONS):
        return _call(function.strip().lower(), argument.strip())
    render = TEMPLATES.get(name)
    if render is None:
        render = next((family for prefix, family in PREFIXED.items() if name.startswith(prefix)), None)
    return None if render is None else render(*parameters(rest))


def _call(function: str, argument: str) -> str:
    """A parser function that changes digits or letters."""
    if function == "formatnum":
        return format_number(argument)
    if function in ("lc", "uc"):
        return argument.lower() if function == "lc" else argument.upper()
    start = argument[:1].lower() if function == "lcfirst" else argument[:1].upper()
    return start + argument[1:]


def parameters(parts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The positional and the named parameters. `1=`, `2=` are positional where they come in order."""
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and _KEY.match(key):
            named[key.strip().lower()] = value.strip()
        else:
            positional.append(part.strip())
    for number in sorted(int(key) for key in named if key.isascii() and key.isdigit() and len(key) < 3):
        if number == len(positional) + 1:
            positional.append(named[str(number)])
    return positional, named
