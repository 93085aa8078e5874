"""Tiny models, and the command line as a function."""

from command_line import models, one_thread, run  # noqa: F401
