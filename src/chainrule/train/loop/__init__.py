"""The training loop: `fit`, what it checks, each step, when it stops, what it shows."""
