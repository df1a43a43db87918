"""The largest eigenvalues, against numpy's of the whole matrix."""

import numpy as np
import pytest
import torch

from riverrun.landscape.probe.lanczos import largest_eigenpairs


def symmetric(eigenvalues, seed=0):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return torch.from_numpy(rotation * np.asarray(eigenvalues) @ rotation.T)


def test_the_largest_of_a_known_matrix_are_found_in_falling_order():
    spectrum = np.concatenate([np.linspace(-3, 1, 195), [4, 5, 7, 7.5, 10]])
    matrix = symmetric(spectrum)
    found = largest_eigenpairs(lambda v: matrix @ v, 200, 5, limit=100, tolerance=1e-10, dtype=torch.float64)
    np.testing.assert_allclose(found.values, [10, 7.5, 7, 5, 4], rtol=1e-9)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(5), atol=1e-10)
    misses = (found.vectors @ matrix - found.values[:, None] * found.vectors).norm(dim=1)
    np.testing.assert_allclose(misses, found.residuals, atol=1e-8)


def test_the_residuals_bound_the_error_of_an_iteration_that_was_cut_short():
    spectrum = np.linspace(0, 1, 300)
    matrix = symmetric(spectrum)
    found = largest_eigenpairs(lambda v: matrix @ v, 300, 3, limit=12, tolerance=0, dtype=torch.float64)
    assert found.products == 12
    nearest = np.abs(found.values.numpy()[:, None] - spectrum).min(axis=1)
    assert (nearest <= found.residuals.numpy()).all()
    assert found.residuals.max() > 1e-4


def test_converged_directions_do_not_come_back_as_copies():
    matrix = symmetric([0.0] * 90 + [1e-3] * 8 + [1.0, 100.0]).float()
    found = largest_eigenpairs(lambda v: matrix @ v, 100, 2, limit=100, tolerance=0)
    np.testing.assert_allclose(found.values, [100, 1], rtol=1e-4)


def test_a_matrix_with_few_different_eigenvalues_still_gives_as_many_pairs_as_asked_for():
    matrix = symmetric([2.0] * 3 + [1.0] * 7)
    found = largest_eigenpairs(lambda v: matrix @ v, 10, 4, limit=10, dtype=torch.float64)
    np.testing.assert_allclose(found.values, [2, 2, 2, 1], rtol=1e-9)


@pytest.mark.parametrize("count", [0, 11])
def test_a_count_that_the_matrix_has_not_is_refused(count):
    with pytest.raises(ValueError, match="from 1 to 10"):
        largest_eigenpairs(lambda v: v, 10, count, limit=10)
