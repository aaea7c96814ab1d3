"""What is said to people and to programs, and how far a long command has come."""
