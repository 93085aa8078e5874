"""Kernels of correspondence-aware attention; see `choice`."""
