"""Loss landscapes: the river valley, the bigram toy, and probes of real runs."""
