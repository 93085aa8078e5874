"""Named, versioned protocols: which metrics run on which images."""
