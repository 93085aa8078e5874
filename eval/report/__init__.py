"""Figures, contact sheets, viewers and the results page."""
