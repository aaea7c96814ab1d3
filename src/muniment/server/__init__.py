"""What the operator runs: one Django project and, beside it, the streaming data plane. It holds no key."""
