"""Limits: ceilings over a short time, one file a kind."""
