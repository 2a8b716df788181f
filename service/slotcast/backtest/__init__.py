"""Recorded ticks through the predictor of the service, beside baselines, with a report."""
