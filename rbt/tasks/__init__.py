"""Readers of evaluation task files, shared by fine-tuning and decontamination.

    folder, zip or file ──find──> TaskFile a split ──read──> examples (`examples.py`), one data class a kind of task

`sets.py` has the tasks as one literal dict; a task of GLUE is an entry of `glue.py`.
"""
