"""Commands: what was typed becomes one call, what comes of it becomes lines or one JSON object."""
