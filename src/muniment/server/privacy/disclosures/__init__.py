"""Orders of authorities: one case each, two people to approve it, and nothing beyond its scope."""
