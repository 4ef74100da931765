"""Features: one definition (language), two independent twins (batch, native), a certificate (parity)."""
