"""What tracks and histories ask of the tensors and steps that they are given."""

from collections.abc import Iterable, Sequence

from torch import Tensor


def check_floating(params: Iterable[Tensor]) -> list[Tensor]:
    """The parameters as a list; `ValueError` for one that does not hold floating-point numbers."""
    params = list(params)
    for index, param in enumerate(params):
        if not param.is_floating_point():
            raise ValueError(f"params[{index}]: got {param.dtype}; must hold floating-point numbers")
    return params


def check_matching(tensors: Iterable[Tensor], averages: Sequence[Tensor]) -> list[Tensor]:
    """The tensors as a list, each of its average's shape; `lerp_` and `copy_` would broadcast."""
    tensors = list(tensors)
    if len(tensors) != len(averages):
        raise ValueError(f"params: got {len(tensors)} tensors; must be {len(averages)}")
    for index, (average, tensor) in enumerate(zip(averages, tensors, strict=True)):
        if average.shape != tensor.shape:
            raise ValueError(
                f"params[{index}]: got shape {tuple(tensor.shape)}; must be {tuple(average.shape)}"
            )
    return tensors


def check_step(step: int, last: int) -> int:
    """The step as an int; `ValueError` unless it is a whole number above the last one."""
    if isinstance(step, bool) or step != int(step) or step <= last:
        raise ValueError(f"step: got {step!r}; must be a whole number above the last one, {last}")
    return int(step)
