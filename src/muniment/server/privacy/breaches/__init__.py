"""Data that got out: a register, a clock of 72 hours, and who is told."""
