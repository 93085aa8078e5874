"""Verifiable artifacts: a score with the hashes of all it was made of, packed and checked again."""
