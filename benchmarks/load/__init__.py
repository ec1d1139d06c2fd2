"""A server under load beside others: who asks, who answers, and how much each of them can take."""
