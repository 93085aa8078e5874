"""What the rules of the workflow are made of, in plain Python."""
