"""Bytes in flight: messages, versions, error codes. No sockets."""
