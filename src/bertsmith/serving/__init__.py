"""One server for every head: requests over HTTP, batched into one inference thread."""
