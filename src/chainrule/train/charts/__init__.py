"""Charts as SVG text, for reports, histories and rates."""
