"""What the world is told of the traffic: made from counters and records, never from an exchange."""
