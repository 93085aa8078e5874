"""Human studies: a blinded sheet of pairs of images, and the scores of its answers."""
