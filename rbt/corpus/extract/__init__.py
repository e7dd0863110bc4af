"""Markup to text: pure functions."""
