"""Engines that keep what they hold in one SQLite file of `gateway.data`."""
