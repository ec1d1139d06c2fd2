"""Public data sets, one file each: where the records come from, how they are split, and which question they ask."""
