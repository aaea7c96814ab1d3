"""The disk of this machine, behind the engine's ports. POSIX, proven on Linux."""
