"""Figures of a tournament: how far ranks separate, differences from the control, profiles, loads, and the front."""
