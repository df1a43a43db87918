"""What training minimises, as one module."""

from __future__ import annotations

from torch import Tensor, nn

from riverrun.models.decoder import Decoder


class Objective(nn.Module):
    """A decoder with its loss: the whole of a forward pass, for what wraps a module to wrap all of it.

    `torch.compile`, DistributedDataParallel and `fully_shard` act on a module's forward pass. The decoder's own
    ends at the logits, which training never holds whole. With `fully_shard`, leave the embedding and the
    unembedding to this module's group: the loss takes the unembedding's weight without calling it.

    Attributes:
        decoder: as given; its parameters are all there are.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy in nats, summed over `targets` [B, T], after `inputs` [B, T]; fp32."""
        return self.decoder.loss(inputs, targets, reduction="sum")
