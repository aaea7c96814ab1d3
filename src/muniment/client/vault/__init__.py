"""One vault: opened with distrust, its holders, its snapshots, and the whole of it as files."""
