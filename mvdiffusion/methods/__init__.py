"""Methods that MVDiffusion is compared with."""
