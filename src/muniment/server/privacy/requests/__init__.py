"""Requests of people about their own data: one machine, one clock of ten days, whatever way they came."""
