"""The scenario file: its models, its loader and its times."""
