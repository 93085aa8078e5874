"""Scoring one folder, reading score files, and sanity checks."""
