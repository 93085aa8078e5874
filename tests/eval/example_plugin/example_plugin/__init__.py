"""An example of a plug-in: a metric, a protocol that uses it, and a method with its own layout."""

from pathlib import Path

PROTOCOLS = Path(__file__).with_name("protocols.yaml")
"""The file of protocols, as the entry point names it."""
