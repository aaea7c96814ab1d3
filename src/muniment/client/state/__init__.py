"""What this machine remembers of a vault. Only a cache: all of it can be lost and is made anew."""
