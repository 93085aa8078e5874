"""Trainings of models that only baselines need."""
