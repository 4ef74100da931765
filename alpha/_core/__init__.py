"""Native floor: C11 kernels and their Cython bindings. Import what you need from ``alpha``."""
