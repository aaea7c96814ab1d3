"""What runs on a customer's machine: command line, configuration, transport, local state, disk."""
