"""The same computations by other libraries, to compare with. Needs the extra ``bench``."""
