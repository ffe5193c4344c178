"""Evaluation of directions on held-out samples, calibration of slider ranges, and inversion metrics."""
