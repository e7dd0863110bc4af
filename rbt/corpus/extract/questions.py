"""Question files of PDP-60 and WSC-273 to their sentences, the pronoun in question kept or shown as BLANK.

    XML     <schema><text> <txt1>, <pron>, <txt2> </text> ...    WSCollection.xml, PDPChallenge.xml and their like
    blank   sentence with [MASK], "[MASK]", candidates, answer   PDP.txt, wsc273.txt: a blank line between questions
    plain   one question a line                                  anything else
"""

from __future__ import annotations

from itertools import pairwise

from lxml import etree

BLANK = "[MASK]"  # stands for a pronoun that the file does not tell
WSC_QUESTIONS = 273  # WSC-273 is how many WSCollection.xml had before 12 more were added at its end


def parse_questions(data: bytes) -> list[str]:
    """The sentences of one file, in order, spaces and line ends as one space.

    Raises ValueError where the file is no UTF-8, or starts like XML and is none, or has no question in it.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        questions = _of_xml(data)
    else:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
        questions = _of_blanks(lines) if BLANK in lines else [line for line in lines if line]
    questions = [" ".join(question.split()) for question in questions]
    if not any(questions):
        raise ValueError("no question")
    return questions


def _of_blanks(lines: list[str]) -> list[str]:
    return [line for line, next_line in pairwise(lines) if next_line == BLANK and line]


def _of_xml(data: bytes) -> list[str]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data.lstrip(b"\xef\xbb\xbf \t\r\n"), parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"XML that cannot be read: {error}") from error
    texts = list(root.iterfind(".//schema/text"))[:WSC_QUESTIONS]
    return [" ".join(str(part) for part in text.itertext()) for text in texts]
