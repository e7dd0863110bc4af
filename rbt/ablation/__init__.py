"""The paper's ablations as recipes: run every row of a table with several seeds, and write the table."""
