"""What a running gateway is asked and told: on a Unix socket by its operators, on loopback by what scrapes it."""
