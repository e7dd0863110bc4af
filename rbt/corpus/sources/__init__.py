"""The sources: raw files of one kind to documents. `SOURCES` is filled with one function a kind."""
