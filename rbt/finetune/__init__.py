"""Fine-tuning on GLUE, SQuAD, RACE, and whatever else has an entry in TASKS."""
