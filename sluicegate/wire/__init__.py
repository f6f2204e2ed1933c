"""What stands on the wire: fields of a body, events of a stream, headers, times to wait. Pure."""
