"""Masked-language-model pretraining over packed rows."""
