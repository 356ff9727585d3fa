"""Analysis of a run, and one module per format."""
