"""Metrics bound to folders of images: what each protocol step runs."""
