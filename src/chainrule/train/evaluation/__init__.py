"""What a model is judged by.

objective   the loss, by name, module or function
metrics     accuracy, F1, AUC, R², …
inference   `evaluate` and `predict`: a model on many rows
streams     windows of long sequences that follow each other, and the state between them
tracing     the graph of a forward pass, for the checks
batches     data as batches (x, y)
modes       training and evaluation mode
"""
