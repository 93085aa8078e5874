"""What makes a step of a training cheaper, and changes nothing of what it computes but rounding."""
