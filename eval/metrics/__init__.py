"""One file per metric, each a pure function of arrays."""
