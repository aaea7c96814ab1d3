"""What people said yes and no to: events that are only ever added, and what follows from them."""
