"""Bytes in: client connections, HTTP/1.1 as strict as a front door must be, answers in order."""
