"""Networks that turn images and texts into features, their weights, training and cache."""
