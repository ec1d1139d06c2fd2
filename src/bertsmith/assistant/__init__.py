"""A dialogue over intents, questions that were answered before, documents, and replies to choose from."""
