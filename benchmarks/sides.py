"""The sides of a comparison: steps of ours and of others, each in its own process."""

import resource
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from alexnet_jax.errors import RunError
from benchmarks.compared import Step


class Memory(NamedTuple):
    """The most that a process has held, in GB.

    Attributes:
      host: Of the host's memory.
      device: Of the GPU's; None on a CPU.
    """

    host: float
    device: float | None


class Side:
    """A process that runs steps when asked.

    Attributes:
      compile_s: Seconds that the step took to trace and compile; of PyTorch's, the
        first step.
    """

    def __init__(self, context: Any, side: str, **work: Any) -> None:
        """Starts the process and waits until it is warm.

        Args:
          context: Of `multiprocessing`.
          side: `ours`; `flax`, a bare step by XLA's own forms; `torch`, `torch.compile`
            or `torch.graph`.
          **work: `model`, `mode`, `batch_size` and `dtype`.

        Raises:
          RunError: It cannot run the step; so do all methods.
        """
        self._name = side
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(side, work, theirs), daemon=True).start()
        theirs.close()
        self.compile_s: float = self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RunError(f"{self._name}: the process is gone") from None
        if isinstance(answer, str):
            raise RunError(f"{self._name}: {answer}")
        return answer

    def _ask(self, question: int | str) -> Any:
        try:
            self._pipe.send(question)
        except BrokenPipeError:
            raise RunError(f"{self._name}: the process is gone") from None
        return self._receive()

    def seconds(self, steps: int) -> float:
        """Returns what so many steps take."""
        return self._ask(steps)

    def kernels(self) -> float | None:
        """Returns how many kernels a step runs on the device; None if unseen."""
        return self._ask("kernels")

    def memory(self) -> Memory:
        """Returns the most memory that the process has held."""
        return self._ask("memory")

    def close(self) -> Memory:
        """Ends the process; returns the most memory that it held."""
        return self._ask(0)


def take_turns(
    sides: Sequence[Side], repeats: int, steps: int
) -> tuple[list[float], ...]:
    """Returns seconds a step, by side and repeat."""
    seconds: tuple[list[float], ...] = tuple([] for _ in sides)
    for _ in range(repeats):
        for side, times in zip(sides, seconds, strict=True):
            times.append(side.seconds(steps) / steps)
    return seconds


def create_step(side: str, model: str, mode: str, batch_size: int, dtype: str) -> Step:
    """Returns the step of a side, compiled.

    Args:
      side: As in `Side`.
      model: A network of `compared.SIZES`.
      mode: `train` or `eval`.
      batch_size: Images.
      dtype: `float32` or `bfloat16`.
    """
    if side in ("ours", "flax"):
        from benchmarks import jax_steps

        make = jax_steps.our_step if side == "ours" else jax_steps.flax_step
        return make(model, mode, batch_size, dtype)
    from benchmarks import torch_steps

    how = side.partition(".")[2]
    return torch_steps.torch_step(model, mode, batch_size, dtype, how)


def _serve(side: str, work: dict[str, Any], pipe: Connection) -> None:
    """Answers each number of steps with the seconds that they took; 0 ends it."""
    try:
        _answer(create_step(side, **work), pipe)
    except Exception as error:  # whatever it is, the other sides go on
        text = " ".join(str(error).split())
        pipe.send(f"{type(error).__name__}: {text[:300]}")


def _answer(step: Step, pipe: Connection) -> None:
    for _ in range(2):  # warm
        step.run()
    step.wait()
    pipe.send(step.compile_s)
    while question := pipe.recv():
        if question == "kernels":
            pipe.send(step.kernels(3))
            continue
        if question == "memory":
            pipe.send(_memory(step))
            continue
        start = time.perf_counter()
        for _ in range(question):
            step.run()
        step.wait()
        pipe.send(time.perf_counter() - start)
    pipe.send(_memory(step))


def _memory(step: Step) -> Memory:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Memory(host, step.device_gb())
