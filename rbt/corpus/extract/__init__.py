"""Markup to plain text: wikitext and HTML."""
