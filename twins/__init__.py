"""The built-in digital twins."""
