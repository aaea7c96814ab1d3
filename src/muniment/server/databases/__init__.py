"""The two databases as Django speaks to them, with one difference: queries ask what they are for."""
