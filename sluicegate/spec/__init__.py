"""Declared configuration: read it, judge it, compile it. `load.load_file` is the door; language.py is the table."""
