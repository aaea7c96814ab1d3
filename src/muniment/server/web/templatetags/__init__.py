"""Template tags of the frame: `{% load web %}`."""
