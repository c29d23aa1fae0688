"""The event loop: the one place where the state of a simulation changes."""
