"""The gate: who may be sent which personal data, and the only way in which it is sent."""
