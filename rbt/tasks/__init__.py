"""Readers of evaluation task files, shared by fine-tuning and decontamination."""
