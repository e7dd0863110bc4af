"""Raw dumps to a clean, deduplicated corpus of Arrow parts."""
