"""Tables: reading them, the kinds of their columns, and how a network takes them."""
