"""What a run writes down as it goes: metrics, checkpoints, events; and what it tells whoever watches."""

from __future__ import annotations

import time

from riverrun.runs import Tree
from riverrun.runs.metrics import MetricsLog, Record
from riverrun.runs.retention import prune
from riverrun.train.progress import Progress
from riverrun.train.session import Session

# Seconds between notes of the throughput in events.jsonl.
_THROUGHPUT_EVERY = 60.0


class Journal:
    """Keeps the record of one session."""

    def __init__(self, session: Session, progress: Progress):
        self._session = session
        self._progress = progress
        self._metrics = MetricsLog(session.node.metrics_path, session.state.step)
        self._saved = session.state.step or None
        self._timed = time.monotonic(), session.plan.tokens(session.state.step)

    def step(self, loss: float, gradient_norm: float, readouts: Record) -> None:
        """Note the update just done, with the readouts of its position where it has any."""
        plan, state = self._session.plan, self._session.state
        step = state.step
        record: Record = {
            "step": step,
            "tokens": plan.tokens(step),
            "loss/train": loss,
            "lr": plan.lr(step),
            "gradient_norm": gradient_norm,
        }
        if state.skipped:
            record["skipped"] = state.skipped
        record |= readouts
        if readouts or step % plan.recipe.metrics.every == 0:
            self._metrics.append(record)
        self._progress.step(record)
        if readouts:
            self._progress.readout(record)
        since, tokens = self._timed
        if (now := time.monotonic()) - since >= _THROUGHPUT_EVERY:
            rate = (record["tokens"] - tokens) / (now - since)
            self._session.node.event("throughput", step=step, tokens_per_second=round(rate))
            self._timed = now, record["tokens"]

    def checkpoint(self) -> None:
        """Save the position, if it is not saved yet; then let go of checkpoints that nobody needs any more."""
        node, state, plan = self._session.node, self._session.state, self._session.plan
        if state.step == self._saved:
            return
        self._metrics.sync()
        past = self._session.stream.fingerprint_of_past(plan.sizes.samples(state.step))
        state.save(node.checkpoint_folder, past)
        tree = Tree(node.run)

        def is_kept(step: int) -> bool:  # asked anew each time: a branch may begin at any moment
            if plan.is_fork_point(step):
                return True
            forks = tree.forks(node)
            return forks is None or step in forks

        prune(node.checkpoint_folder, state.step, is_kept, plan.recipe.checkpoints.keep)
        node.event("checkpoint", step=state.step)
        self._saved = state.step

    def close(self) -> None:
        """Close the record."""
        self._metrics.close()
