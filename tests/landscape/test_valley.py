import numpy as np
import pytest

from riverrun.landscape.valley import Points, Valley, hilly_valley, plane_valley


@pytest.fixture(params=[(plane_valley, 0.0), (plane_valley, 1.5), (hilly_valley, 0.0), (hilly_valley, 2.0)])
def valley(request):
    make, amplitude = request.param
    return make(amplitude)


@pytest.fixture
def points(valley):
    random = np.random.default_rng(3)
    return Points(random.uniform(-5, 60, 7), random.standard_normal((7, valley.hills)))


def test_the_gradient_is_that_of_finite_differences(valley, points):
    step = 1e-6
    gradient = valley.gradient(points)

    def slope(shift_x, shift_y):
        ahead = Points(points.x + shift_x, points.y + shift_y)
        behind = Points(points.x - shift_x, points.y - shift_y)
        return (valley.loss(ahead) - valley.loss(behind)) / (2 * step)

    np.testing.assert_allclose(gradient.x, slope(step, 0), atol=1e-8)
    for hill in range(valley.hills):
        along = np.zeros(valley.hills)
        along[hill] = step
        np.testing.assert_allclose(gradient.y[:, hill], slope(0, along), atol=1e-8)


def test_the_loss_is_the_river_plus_the_elevation_which_is_least_on_the_river(valley, points):
    np.testing.assert_allclose(valley.loss(points), valley.river(points) + valley.elevation(points))
    assert (valley.elevation(points) > 0).all()
    on_the_river = Points(points.x, points.y - valley.above_bed(points))
    np.testing.assert_allclose(valley.elevation(on_the_river), 0, atol=1e-25)


def test_runs_start_on_the_river(valley):
    np.testing.assert_array_equal(valley.loss(valley.springs(3)), valley.height)


def test_the_swing_is_as_wide_as_the_amplitude_whatever_the_number_of_hills(valley):
    crest = Points(np.array([np.pi / 2 / valley.omega]), np.zeros((1, valley.hills)))
    assert np.linalg.norm(valley.above_bed(crest)) == pytest.approx(valley.amplitude)


def test_the_limit_of_a_straight_river_is_two_over_the_largest_curvature():
    assert hilly_valley().largest_stable_rate == pytest.approx(2 / 1.5)


def test_no_curvature_of_a_curved_river_is_above_the_bound():
    valley = Valley(curvatures=np.ones(1), noise=0.0, amplitude=3.0, omega=0.3, length=1e9)
    step = 1e-4
    for x in np.linspace(0, 20, 41):
        place = Points(np.array([x]), np.array([[3.0 * np.sin(0.3 * x)]]))
        columns = []
        for shift_x, shift_y in ((step, 0.0), (0.0, step)):
            ahead = valley.gradient(Points(place.x + shift_x, place.y + shift_y))
            behind = valley.gradient(Points(place.x - shift_x, place.y - shift_y))
            columns.append([(ahead.x - behind.x)[0], (ahead.y - behind.y)[0, 0]])
        largest = np.linalg.eigvalsh(np.array(columns) / (2 * step)).max()
        assert largest <= 2 / valley.largest_stable_rate * (1 + 1e-6)


def test_points_between_two_others_lie_on_the_line(points):
    other = Points(points.x + 2, points.y - 4)
    middle = points.toward(other, 0.25)
    np.testing.assert_allclose(middle.x, points.x + 0.5)
    np.testing.assert_allclose(middle.y, points.y - 1)
