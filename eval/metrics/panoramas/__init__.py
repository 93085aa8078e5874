"""Metrics of whole panoramas: seams, coherence, and distances between sets of faces."""
