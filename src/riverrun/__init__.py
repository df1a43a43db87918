"""riverrun: pretrain language models without fixing the end in advance."""

__version__ = "0.1.0"
