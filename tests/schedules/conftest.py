"""One example of every kind of schedule, and a hypothesis strategy over all of them."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from riverrun.schedules import (
    SHAPES,
    WSD,
    WSDS,
    Constant,
    Continued,
    Cosine,
    CyclicCosine,
    Decayed,
    InverseSqrt,
    Linear,
    PiecewiseLinear,
    PowerDecay,
    Schedule,
    Stairs,
)

EXAMPLES: dict[str, Schedule] = {
    "constant": Constant(warmup=7),
    "inverse-sqrt": InverseSqrt(warmup=7, warmup_start=0.1, offset=40),
    "power-decay": PowerDecay(warmup=7, exponent=0.4, offset=30),
    "cosine": Cosine(warmup=7, total=120, floor=0.0),
    "linear": Linear(warmup=7, warmup_start=0.3, total=120),
    "cyclic-cosine": CyclicCosine(warmup=7, budgets=(40, 80, 120), rewarmup=5),
    "wsd": WSD(warmup=7, budget=120, decay=0.2, shape="sqrt"),
    "wsds": WSDS(warmup=7, budgets=(30, 60, 110), decay=0.1, shape="inverse"),
    "stairs": Stairs(warmup=7, at=(30, 60, 110), values=(0.8, 0.9, 0.3)),
    "piecewise-linear": PiecewiseLinear(warmup=7, at=(30, 60, 110), values=(0.8, 0.9, 0.3)),
    "continued": Continued(base=InverseSqrt(warmup=7, offset=40), at=(50, 60, 110), values=(0.3, 0.1)),
    "decayed": InverseSqrt(warmup=7, offset=40).decay(at=50, steps=20, shape="exponential"),
}


@pytest.fixture(params=EXAMPLES, ids=str)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """Each kind in turn."""
    return EXAMPLES[request.param]


def _schedules() -> st.SearchStrategy[Schedule]:
    warm = {"warmup": st.integers(0, 60), "warmup_start": st.floats(0, 1)}
    floor = st.floats(0, 1)
    positive_floor = st.floats(1e-3, 1)
    shape = st.sampled_from([*SHAPES, "power:0.7", "power:3"])
    budgets = st.lists(st.integers(20, 80), min_size=1, max_size=5).map(
        lambda lengths: tuple(80 + sum(lengths[: i + 1]) for i in range(len(lengths)))
    )
    of = st.sampled_from(["budget", "cycle"])
    points = st.lists(st.tuples(st.integers(61, 400), st.floats(0, 1)), min_size=1, max_size=5).map(
        lambda pairs: tuple(zip(*sorted(dict(pairs).items()), strict=True))
    )
    decaying = {"decay": st.floats(0, 0.2), "shape": shape, "floor": positive_floor}
    plain = st.one_of(
        st.builds(Constant, **warm),
        st.builds(InverseSqrt, offset=st.integers(1, 10**6), **warm),
        st.builds(PowerDecay, exponent=st.floats(0, 0.99), offset=st.integers(1, 10**6), **warm),
        st.builds(Cosine, total=st.integers(60, 400), floor=floor, **warm),
        st.builds(Linear, total=st.integers(60, 400), floor=floor, **warm),
        st.builds(CyclicCosine, budgets=budgets, rewarmup=st.integers(0, 20), floor=floor, **warm),
        st.builds(WSD, budget=st.integers(80, 400), of=of, **decaying, **warm),
        st.builds(WSDS, budgets=budgets, of=of, **decaying, **warm),
        st.builds(lambda pair, **warmup: Stairs(at=pair[0], values=pair[1], **warmup), points, **warm),
        st.builds(
            lambda pair, **warmup: PiecewiseLinear(at=pair[0], values=pair[1], **warmup), points, **warm
        ),
    )
    return st.recursive(
        plain,
        lambda base: st.one_of(
            st.builds(
                Decayed,
                base=base,
                at=st.integers(0, 300),
                steps=st.integers(0, 100),
                shape=shape,
                floor=positive_floor,
                after=st.sampled_from(["hold", "return"]),
            ),
            st.builds(
                lambda base, start, pair: Continued(base=base, at=(start, *pair[0]), values=pair[1]),
                base,
                st.integers(1, 60),
                points,
            ),
        ),
        max_leaves=3,
    )


@pytest.fixture(scope="session")
def any_schedule() -> st.SearchStrategy[Schedule]:
    """Any schedule of any kind, to be drawn with ``st.data()``."""
    return _schedules()


@pytest.fixture(scope="session")
def examples() -> Callable[[str], Schedule]:
    """The example of a kind, by name."""
    return EXAMPLES.__getitem__
