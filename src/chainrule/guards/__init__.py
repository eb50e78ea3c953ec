"""Guards of compiled steps: whether recording a function again would give the same graph."""
