"""The frame of every page: middleware, base templates, static files, template tags."""
