"""rbt: from raw dumps to a RoBERTa."""

__version__ = "0.1.0"
