"""Tables of scores, and published numbers beside them."""
