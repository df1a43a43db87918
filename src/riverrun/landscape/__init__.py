"""Loss landscapes: the river valley, and probes of real runs."""
