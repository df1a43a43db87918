"""The largest eigenvalues of a symmetric matrix that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest eigenvalues, algebraically, in falling order.

    Attributes:
        values: [k].
        vectors: [k, size], orthonormal.
        residuals: [k], the norms of H v - value v. Within so much of each value lies an eigenvalue of H; that none
            between was missed is likely and not proved.
        products: how many products with H they took.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int


def largest_eigenpairs(
    product: Callable[[Tensor], Tensor],
    size: int,
    count: int,
    *,
    limit: int,
    tolerance: float = 0.01,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    advance: Callable[[], None] = lambda: None,
) -> Eigenpairs:
    """Lanczos's iteration, every new direction orthogonalised twice against all before (Golub and Van Loan, 10.3).

    Without that, rounding brings converged directions back and eigenvalues appear several times. It keeps `limit`
    vectors of `size` numbers.

    Args:
        product: v -> H v, both [size].
        size: rows of H.
        count: k.
        limit: products at most; where it ends the iteration the residuals say how good the values are.
        tolerance: end when each residual is at most this share of the largest value.
        seed: of the first direction.
        dtype: of the vectors; the small tridiagonal matrix is in fp64.
        advance: called after each product.

    Raises:
        ValueError: `count` is not from 1 to `size`.
    """
    if not 1 <= count <= size:
        raise ValueError(f"count: got {count}; must be from 1 to {size}, the rows of the matrix")
    limit = min(max(limit, count), size)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.empty(limit, size, dtype=dtype)
    basis[0] = _unit(torch.randn(size, generator=generator, dtype=dtype))
    small = torch.zeros(limit, limit, dtype=torch.float64)
    for step in range(limit):
        image = product(basis[step])
        advance()
        small[step, step] = float(image.double() @ basis[step].double())
        scale = float(image.norm())
        image = _apart(image, basis[: step + 1])
        rest = float(image.norm())
        # Nothing is left but rounding where the directions so far span a space that H maps into itself.
        closed = rest <= 10 * torch.finfo(dtype).eps * scale
        coupling = 0.0 if closed else rest
        values, rotations = torch.linalg.eigh(small[: step + 1, : step + 1])
        residuals = coupling * rotations[-1].abs()
        enough = step + 1 >= count and bool(
            (residuals[-count:] <= tolerance * values[-count:].abs().max()).all()
        )
        if step + 1 == limit or (enough and not closed):
            break
        if closed:
            image = _apart(torch.randn(size, generator=generator, dtype=dtype), basis[: step + 1])
        basis[step + 1] = _unit(image)
        small[step, step + 1] = small[step + 1, step] = coupling
    chosen = rotations[:, -count:].flip(1).T.to(dtype)
    return Eigenpairs(
        values[-count:].flip(0), chosen @ basis[: step + 1], residuals[-count:].flip(0), products=step + 1
    )


def _apart(vector: Tensor, basis: Tensor) -> Tensor:
    """The part of a vector that is orthogonal to the rows of a basis; once more for what rounding left."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()
