"""The command line: one file per verb, one table of verbs in `main`, one way from settings to options in `options`."""
