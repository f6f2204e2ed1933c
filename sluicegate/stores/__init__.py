"""Engines for the ports: a folder each, with the same file names in each."""
