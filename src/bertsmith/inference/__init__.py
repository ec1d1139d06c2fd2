"""A saved model at work: requests in, predictions out. Knows `Task`, never a task, and nothing of training."""
