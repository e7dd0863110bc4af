"""Exponents stay apart from their base: 10<sup>6</sup> is 10⁶, since 106 is another number; an index is H2O."""

from __future__ import annotations

import re

MAXIMUM_SIGNS = 8
RAISED = {
    **dict(zip("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", strict=True)), "\u2212": "⁻",
    "&minus;": "⁻", "&#8722;": "⁻", "&#x2212;": "⁻",
}  # signs as wikitext and HTML write them, and as they are raised

_EXPONENT = re.compile(rf"<sup(?: [^<>]*)?>([0-9+\u2212-]{{1,{MAXIMUM_SIGNS}}})</sup>")
_SIGNS = str.maketrans({sign: raised for sign, raised in RAISED.items() if len(sign) == 1})


def raise_exponents(html: str) -> str:
    """HTML as a parser writes it, with each <sup> of digits and signs alone in raised characters."""
    return _EXPONENT.sub(lambda found: found[1].translate(_SIGNS), html) if "<sup" in html else html
