"""What users run today, beside ours: the same inputs, outputs compared in the run. Needs the extra ``bench``."""
