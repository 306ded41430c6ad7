"""What comes after which step: rows, evaluations and checkpoints."""

from typing import NamedTuple

from ml_collections import ConfigDict


class Due(NamedTuple):
    """What is to be done after a step."""

    epoch: bool  # a line and a row over the whole epoch
    window: bool  # a row over the steps since the last row
    evaluate: bool
    save: bool  # at any rate; the end of an epoch is saved as `Interval` says, too
    named: bool  # whether `checkpoint.every_epochs` names the epoch that ends


class Events:
    """Says what is due after a step, and how many steps go together."""

    def __init__(
        self, config: ConfigDict, steps_per_epoch: int, num_steps: int
    ) -> None:
        """Keeps what it is given.

        Args:
          config: The run's.
          steps_per_epoch: Steps in an epoch.
          num_steps: The step that the run ends at.
        """
        self._config = config
        self._steps_per_epoch, self._num_steps = steps_per_epoch, num_steps

    def due(self, step: int) -> Due:
        """Says what comes after the step, counted from 1."""
        config = self._config
        epoch, position = divmod(step, self._steps_per_epoch)
        last = step == self._num_steps
        save_every_steps = config.checkpoint.every_steps
        now = save_every_steps is not None and step % save_every_steps == 0

        def every(epochs: int) -> bool:
            return last or (position == 0 and epoch % epochs == 0)

        return Due(
            epoch=last or position == 0,
            window=position % config.log.every_steps == 0,
            evaluate=every(config.eval.every_epochs),
            save=now or last,
            named=every(config.checkpoint.every_epochs),
        )

    def count(self, step: int, most: int) -> int:
        """Says how many steps the dispatch after a step has.

        Several only where nothing is due between them. It depends on the step and the
        config alone, so that a resumed run goes on by the same programs.

        Args:
          step: Steps done.
          most: The most steps of a dispatch.
        """
        position = step % self._steps_per_epoch % self._config.log.every_steps
        if position % most or step + most > self._num_steps:
            return 1
        between = map(self.due, range(step + 1, step + most))
        due = any(one.epoch or one.window or one.save for one in between)
        return 1 if due else most
