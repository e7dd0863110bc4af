"""News pages to their article by trafilatura: slower than `html`, for those who want its choices.

    bytes ──decode_html──> str ──trafilatura──> text, title, date ──> Article

The library is imported on the first page, since it takes a second and most runs never call it.
"""

from __future__ import annotations

from rbt.corpus.extract.article import Article
from rbt.corpus.extract.page_facts import decode_html


def extract_with_trafilatura(html: bytes, charset: str | None) -> Article:
    """The article of a page as `trafilatura.bare_extraction` chooses it with its defaults, but without comments.

    Title and date are the library's too; a page in which it finds nothing is an article without any text.
    """
    from trafilatura import bare_extraction
    from trafilatura.settings import Document

    found = bare_extraction(decode_html(html, charset), include_comments=False, with_metadata=True)
    if not isinstance(found, Document):
        return Article("", "", "")
    paragraphs = [line.strip() for line in (found.text or "").split("\n") if line.strip()]
    return Article(found.title or "", found.date or "", "\n\n".join(paragraphs))
