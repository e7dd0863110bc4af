"""Numbers and measures as templates give them: nothing is converted, and no number is lost.

Each function takes a template's positional and named parameters, already plain text, and returns what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

RANGE = {
    "to": " to ", "-": "–", "–": "–", "to(-)": " to ", "and": " and ", "and(-)": " and ", "or": " or ", "by": " by ",
    "x": " × ", "×": " × ", "xx": " × ", "+/-": " ± ", "±": " ± ", "+": " + ", ",": ", ", "by(x)": " by ",
}
UNITS = {
    "km2": "km²", "m2": "m²", "cm2": "cm²", "mm2": "mm²", "km3": "km³", "m3": "m³", "cm3": "cm³", "sqmi": "sq mi",
    "sqft": "sq ft", "sqyd": "sq yd", "sqkm": "km²", "sqm": "m²", "cuft": "cu ft", "cuin": "cu in", "cumi": "cu mi",
    "C": "°C", "F": "°F", "C-change": "°C", "F-change": "°F", "kn": "knots", "nmi": "nautical miles", "lbf": "lbf",
    "impgal": "imp gal", "USgal": "US gal", "m/s": "m/s", "kph": "km/h", "/km2": "/km²", "/sqmi": "/sq mi",
}
_NUMBER = re.compile(r"[-−+]?[\d.,/+⁄]+(?:e[-+]?\d+)?$")
_DECIMAL = re.compile(r"[-−+]?\d{1,100}(?:\.\d*)?$")
_SMALLER = ("in", "oz", "lb", "furlong", "ch", "yd", "ft", "pwt")


def format_number(value: str) -> str:
    """Digits in groups of three, as English has them: 1234567.5 -> 1,234,567.5."""
    value = value.strip()
    if not _DECIMAL.match(value):
        return value
    sign = value[0] if value[0] in "-−+" else ""
    whole, point, fraction = value[len(sign) :].partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}" if len(whole) > 3 and whole[0] != "0" else value


def _measure(number: str) -> str:
    """A number of {{convert}}: 5+1/2 is five and a half, 1//2 a fraction with a level bar."""
    return format_number(number).replace("//", "/").replace("+", " ").strip()


def convert(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """The measure as it was given, without its conversion: 5 km; 5 to 10 km; 5 ft 11 in."""
    values = list(positional)
    parts: list[str] = []
    while values and _NUMBER.match(values[0]):
        number = _measure(values.pop(0))
        if len(values) > 1 and values[0] in RANGE and _NUMBER.match(values[1]):
            parts.append(f"{number}{RANGE[values.pop(0)]}")
            continue
        unit = values.pop(0) if values else ""
        parts.append(f"{number} {UNITS.get(unit, unit)}")
        if len(values) >= 2 and _NUMBER.match(values[0]) and values[1] in _SMALLER:
            parts[-1] += " "
            continue
        break
    return "".join(parts).strip() or (positional[0] if positional else "")


def height(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{height|ft=5|in=11}}, {{height|m=1.8}}."""
    units = [name for name in ("m", "cm", "ft", "in") if named.get(name)]
    return " ".join(f"{named[name]} {name}" for name in units) or convert(positional, named)


def value_with_unit(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{val|1234|0.5|e=3|u=km}} -> 1,234±0.5×10³ km."""
    value = "±".join(format_number(part) for part in positional[:2] if part)
    tens = power_of_ten([named["e"]], {}) if named.get("e") else ""
    unit = named.get("u") or named.get("ul") or ""
    per = named.get("up") or named.get("upl") or ""
    unit = f"{UNITS.get(unit, unit)}/{UNITS.get(per, per)}" if per else UNITS.get(unit, unit)
    return f"{named.get('p', '')}{value}{tens}{named.get('s', '')} {unit}".strip()


def fraction(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{frac|3|1|2}} -> 3 1/2."""
    if len(positional) == 1:
        return f"1/{positional[0]}"
    return " ".join([*positional[:-2], "/".join(positional[-2:])])


def power_of_ten(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{e|5}} -> ×10⁵, by the rule of the tag."""
    return f"×{power(positional, named)}" if positional else ""


def power(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{10^|5}} -> 10⁵, by the rule of the tag."""
    return f"10<sup>{positional[0]}</sup>" if positional else ""


def ordinal(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{ordinal|22}} -> 22nd."""
    number = positional[0] if positional else ""
    if not (number.isascii() and number.isdigit()):
        return number
    teen = number[-2:] in ("11", "12", "13")
    return number + ("th" if teen else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th"))


def digits(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{gaps|1|234|567}}: digits that belong together."""
    return "".join(positional)
