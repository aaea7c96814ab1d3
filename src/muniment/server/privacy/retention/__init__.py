"""Retention: what is past its period goes every night, as the columns themselves declare it."""
