"""The command line: one small file per verb, imported when it is called."""
