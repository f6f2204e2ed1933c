"""The pure core: what a gateway decides, without I/O, clock, dice or logging. Read exchange.py first."""
