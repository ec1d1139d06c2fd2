"""Work in several processes, on one machine or many: runners, and shards that are made once. Knows no task."""
