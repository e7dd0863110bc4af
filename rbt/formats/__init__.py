"""The on-disk formats that the packages hand to each other (docs/formats.md)."""
