"""The course of one self-tuned training, an update of the network at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.augmentation import get_augmentation
from methods.contract import Context, TrialData, stream_seed
from methods.criteria.alignment import Alignment
from methods.hypergradient.derivative import Hypergradient, hypergradient
from methods.hypergradient.inner_step import (
    InnerStep,
    Lookahead,
    Losses,
    ensure_finite,
    training_step,
)
from methods.hypergradient.outer_step import TunedVector
from methods.hypergradient.workers import mean_over_workers
from methods.self_tuning.detector import DensityDetector, embeddings
from methods.self_tuning.losses import evaluating, step_losses
from methods.self_tuning.network import build_network
from methods.self_tuning.starting_point import start_vector
from methods.self_tuning.stopping import SmoothedLoss, StopRule, rule_from, state_of
from methods.state import on_cpu
from methods.training.batches import INIT, Batch, Batches, WholeSets

# Chance is log 2 = 0.69: a network above this has not learned to tell its augmentation apart.
LEARNED = 0.6
_UPDATES_PER_LOOK = 10


@dataclass(frozen=True)
class Kept:
    """A state of network and augmentation that is worth returning to."""

    network: dict[str, Tensor]
    vector: Tensor


class SelfTuning:
    """Network, augmentation and data of one trial on its device (ST-SSAD, Algorithm 1).

    First the network learns alone (warm start, Appendix C.1); where it has not learned its task by
    then, it gets as long again, but never more than half of what is left. Then the network and the
    augmentation learn in turns. What a step sees follows from the trial's seed and the step's
    number, so that going on from a state equals never having stopped.
    """

    def __init__(self, data: TrialData, values: Mapping[str, Any], context: Context) -> None:
        self.values, self.context = values, context
        self.data, self.aligned = data.to(context.device), Alignment.of(values)
        self.augmentation = get_augmentation(values["augmentation"], differentiable=True)
        self.batches = Batches(self.data, values, context, self.augmentation)
        seed = stream_seed(context.seed, INIT)
        self.network = context.prepare(build_network(values, data.size, seed)).train()
        self.inner = InnerStep(values["learning_rate"], values["momentum"], values["weight_decay"])
        start = start_vector(self.augmentation, values, data.size)
        self.tuned = TunedVector(self.augmentation, start, data.size, values["tuning_rate"])
        self.velocity: Mapping[str, Tensor] | None = None
        self.smoothed, self.rule = SmoothedLoss(), StopRule(int(values["patience"]))
        self.best: Kept | None = None
        self.step_number, self.began, self.stopped, self.rung = 0, -1, False, 0
        self.warm_loss = self.validation_loss = float("nan")
        self.cosines: list[float] = []
        self.trajectory: list[tuple[int, Tensor]] = []
        self._whole: WholeSets | None = None
        if context.resume is not None:
            self._resume(context.resume)

    @property
    def tuning(self) -> bool:
        """Whether the augmentation has begun to move."""
        return self.began >= 0

    def step(self) -> float:
        """One update of the network, and of the augmentation where it is its turn.

        The training loss, averaged over workers. Raises `Diverged` for a loss that is not finite
        and VanishedGradient where nothing can be learned from the augmentation.
        """
        self._begin_where_learned()
        turn = self.step_number - self.began + 1
        outer = self.tuning and turn % int(self.values["inner_updates"]) == 0
        if outer:
            found = self._hypergradient()
            self._commit(found.step)
            assert isinstance(found.gradient, Tensor)
            self.tuned.move(found.gradient)
            self.trajectory.append((self.step_number + 1, self.tuned.vector))
            if found.cosine is not None:
                self.cosines.append(found.cosine)
            loss = found.step.loss
        else:
            loss = self._plain_step()
        self.smoothed.add(loss)
        self.step_number += 1
        last = self.step_number == int(self.values["steps"])
        if self.tuning and (last or (outer and self.tuned.updates % _UPDATES_PER_LOOK == 0)):
            self._look()
        return loss

    def kept(self) -> Kept:
        """The best state by the sum of both losses; before tuning, the present one."""
        return self.best or self._present()

    def detector(self) -> tuple[DensityDetector, Tensor]:
        """A snapshot of the kept state, which further training does not touch, and what it makes of
        the training images: embeddings `[N, D]`."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.kept().network)
        return DensityDetector.fitted(network, self.data.train)

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to go on from here, on the CPU."""
        best = None if self.best is None else vars(self.best)
        state = {
            "step": self.step_number,
            "rung": self.rung,
            "began": self.began,
            "stopped": self.stopped,
            "warm_loss": self.warm_loss,
            "validation_loss": self.validation_loss,
            "network": self.network.state_dict(),
            "velocity": self.velocity,
            "tuned": self.tuned.state(),
            "smoothed": state_of(self.smoothed),
            "rule": state_of(self.rule),
            "best": best,
        }
        copied: dict[str, Any] = on_cpu(state)
        return copied

    def _begin_where_learned(self) -> None:
        steps, share = int(self.values["steps"]), self.values["warm_share"]
        warm = round(share * steps)
        if self.tuning or self.step_number < warm:
            return
        if self.smoothed.value > LEARNED and self.step_number < min(2 * warm, (warm + steps) // 2):
            return
        self.began, self.warm_loss = self.step_number, self.smoothed.value

    def _plain_step(self) -> float:
        batch = self.batches.at(self.step_number)
        with torch.no_grad():
            augmented = self._augmented(batch, self.tuned.vector)
        done = training_step(
            self.network,
            augmented,
            self._losses(batch.normal),
            self.inner,
            velocity=self.velocity,
            context=self.context,
        )
        self._commit(done)
        return done.loss

    def _hypergradient(self) -> Hypergradient:
        batch, test = self.batches.at(self.step_number), self.batches.test_at(self.step_number)
        return hypergradient(
            self.network,
            self.tuned.vector,
            lambda vector: self._augmented(batch, vector),
            self._losses(batch.normal, test),
            self.inner,
            velocity=self.velocity,
            order=self.values["order"],
            context=self.context,
        )

    def _augmented(self, batch: Batch, vector: Tensor) -> Tensor:
        # `TunedVector` has moved it to where it fits.
        return self.augmentation.apply(batch.normal, vector, batch.draw, checked=True)

    def _losses(self, normal: Tensor, test: Tensor | None = None) -> Losses:
        return step_losses(
            self.network,
            normal,
            test,
            self.aligned,
            self.context,
            batch_statistics=self.values["norm"] == "batch",
        )

    def _commit(self, done: Lookahead) -> None:
        done.commit(self.network)
        self.velocity = done.velocity

    @torch.no_grad()
    def _look(self) -> None:
        """Judge the present state by the smoothed training loss and the whole validation loss."""
        if self._whole is None:
            self._whole = self.batches.whole()
        whole = self._whole
        changed = self.augmentation.apply(whole.train, self.tuned.vector, whole.draw)
        with evaluating(self.network):
            sets = [embeddings(self.network, part) for part in (whole.train, changed, whole.test)]
        loss = self.aligned(*sets)
        # The same on every worker, but they must stop in the same step, to the last bit.
        (loss,) = mean_over_workers([loss], self.context)
        self.validation_loss = float(loss)
        ensure_finite(self.validation_loss, "validation loss")
        total = self.smoothed.value + self.validation_loss
        if self.rule.look(total, self.tuned.updates, self.tuned.place.tolist()):
            self.best = self._present()
        self.stopped = self.rule.over

    def _present(self) -> Kept:
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        return Kept(state, self.tuned.vector.clone())

    def _resume(self, state: Mapping[str, Any]) -> None:
        device = self.context.device
        self.network.load_state_dict(state["network"])
        self.tuned.load(state["tuned"])
        velocity, best = state["velocity"], state["best"]
        if velocity is not None:
            self.velocity = {name: value.to(device) for name, value in velocity.items()}
        if best is not None:
            network = {name: value.to(device) for name, value in best["network"].items()}
            self.best = Kept(network, best["vector"].to(self.tuned.vector))
        self.smoothed = SmoothedLoss(**state["smoothed"])
        self.rule = rule_from(state["rule"])
        self.step_number, self.rung = int(state["step"]), int(state["rung"])
        self.began, self.stopped = int(state["began"]), bool(state["stopped"])
        self.warm_loss = float(state["warm_loss"])
        self.validation_loss = float(state["validation_loss"])
