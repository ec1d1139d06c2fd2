"""One server for every head: routes, batches, limits, the page."""
