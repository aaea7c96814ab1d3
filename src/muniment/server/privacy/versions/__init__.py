"""Versions of the statement: posted before they hold, told about, in force per person, never altered."""
