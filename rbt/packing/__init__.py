"""Corpus text to a tokenizer, tokens, blocks and rows."""
