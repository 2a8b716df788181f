"""Ticks, controls and forecasts, between bytes and columns."""
