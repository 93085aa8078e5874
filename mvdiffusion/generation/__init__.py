"""Generating a split or a single request, and the files that come out."""
