"""Writing checkpoints, while training waits or while it goes on.

In the background, training waits only for a copy of its state; a thread then writes, flushes and hashes it, on every
rank at once, and the folder appears when all are done. One save is under way at a time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from riverrun.ranks import Ranks
from riverrun.runs import Checkpoint, Tree
from riverrun.runs.retention import prune
from riverrun.train.session import Session
from riverrun.train.state import Snapshot


class Saver:
    """Saves the positions of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        wanted = session.plan.recipe.checkpoints.background
        behind = session.engine.device.type == "cuda" if wanted == "auto" else wanted == "on"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if behind else None
        self._under_way: Future[Checkpoint] | None = None

    @property
    def failed(self) -> bool:
        """Whether the save in the background is over and went wrong."""
        under_way = self._under_way
        return under_way is not None and under_way.done() and under_way.exception() is not None

    def begin(self) -> None:
        """Save the session's position; the save before it must be settled."""
        session = self._session
        state, plan = session.state, session.plan
        past = session.stream.fingerprint_of_past(plan.sizes.samples(state.step))
        snapshot = state.snapshot(past, copied=self._thread is not None)
        if self._thread is None:
            state.saved = self._write(snapshot, session.ranks)
        else:
            self._under_way = self._thread.submit(self._write, snapshot, session.ranks.apart())

    def settle(self) -> None:
        """Wait for the save in the background; raises what went wrong."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            state = self._session.state
            state.saved = None  # what failed may have left nothing to link to
            state.saved = under_way.result()

    def _write(self, snapshot: Snapshot, ranks: Ranks) -> Checkpoint:
        saved = snapshot.write(self._session.node.checkpoint_folder, ranks)
        ranks.once(lambda: self._tidy_up(snapshot.step))
        return saved

    def _tidy_up(self, step: int) -> None:
        """Let go of checkpoints that nobody needs any more, and note the new one."""
        node, plan = self._session.node, self._session.plan
        tree = Tree(node.run)

        def is_kept(step: int) -> bool:  # asked anew each time: a branch may begin at any moment
            if plan.is_fork_point(step):
                return True
            forks = tree.forks(node)
            return forks is None or step in forks

        prune(node.checkpoint_folder, step, is_kept, plan.recipe.checkpoints.keep)
        node.event("checkpoint", step=step)

    def close(self) -> None:
        """End the thread, when it is done."""
        if self._thread is not None:
            self._thread.shutdown()
