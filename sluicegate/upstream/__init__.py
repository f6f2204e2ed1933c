"""Bytes out: connections to the instances, kept, bounded and never trusted further than their framing."""
