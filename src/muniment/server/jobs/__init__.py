"""What the server does by itself: each work in one process at a time, and again where one died."""
