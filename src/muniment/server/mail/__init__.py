"""Mail: a class of message per template, one way out."""
