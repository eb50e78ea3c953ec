"""What a model is judged by: losses, metrics, predictions for many rows."""
