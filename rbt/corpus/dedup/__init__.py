"""Exact and near duplicates, removed only for a verified edge to a kept document."""
