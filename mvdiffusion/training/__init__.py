"""Training: the miniature's base model, stage 1 and stage 2."""
