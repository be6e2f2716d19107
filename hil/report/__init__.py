"""What a campaign means: figures, tables and a page, read from the results directory alone."""
