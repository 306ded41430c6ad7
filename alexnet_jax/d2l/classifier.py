"""d2l's `Classifier`: the network of the package, with d2l's hooks."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from alexnet_jax.d2l.module import Module, collections, scalar_loss
from alexnet_jax.models import Classifier as _Classifier


class Classifier(Module, _Classifier):  # type: ignore[misc]
    """An image classifier with d2l's hooks.

    `setup` fills `self.net` with an `nn.Sequential`; its fields may come without
    defaults and in any order, as the book's do. `loss` is called with bytes scaled to
    [0, 1].

    Source: d2l.ai §4.3, `d2l.Classifier`.
    """

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        """Takes positional arguments in the order in which the book's classes do."""
        own = cls.__dict__.get("__annotations__", {})
        for name, kind in _Classifier.__annotations__.items():
            if name in cls.__dict__ and name in _FIELDS and name not in own:
                cls.__annotations__[name] = kind  # NiN's `num_classes = 10`
        # A field without a default could not follow `lr`, which has one.
        super().__init_subclass__(kw_only=True, **kwargs)
        if not kw_only:
            _take_positions(cls)

    @nn.nowrap
    def forward(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Maps images `(B, H, W, C)` to logits `(B, num_classes)`."""
        return super(Module, self).__call__(X, *args, **kwargs)

    @nn.nowrap
    def loss(
        self,
        params: Any,
        X: Any,
        Y: Any,
        state: Any,
        averaged: bool = True,
    ) -> tuple[jax.Array, Any]:
        """Returns softmax cross-entropy and what became of mutable collections.

        Args:
          params: The parameters to take the gradient of.
          X: Tuple of the network's inputs, `(B, ...)` each.
          Y: Labels, `(B,) int32`.
          state: The `TrainState`.
          averaged: Whether to return the mean, `()`, or `(B,)`.
        """
        logits, updates = logits_of(params, X, state, self.training)
        label = jnp.reshape(Y, -1)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return value.mean() if averaged else value, updates

    @nn.nowrap
    def accuracy(
        self,
        params: Any,
        X: Any,
        Y: Any,
        state: Any,
        averaged: bool = True,
    ) -> jax.Array:
        """Returns the fraction of right predictions, `()`, or `(B,)` of 0 and 1.

        The arguments are those of `loss`.
        """
        logits, _ = logits_of(params, X, state, self.training)
        right = logits.argmax(axis=-1).astype(jnp.int32) == jnp.reshape(Y, -1)
        right = right.astype(jnp.float32)
        return right.mean() if averaged else right

    @nn.nowrap
    def training_step(self, params: Any, batch: Any, state: Any) -> Any:
        """Returns the loss with its updates, and the gradient; plots the loss."""
        value_and_grad = jax.value_and_grad(
            scalar_loss(self, has_aux=True), has_aux=True
        )
        value, grads = value_and_grad(params, batch[:-1], batch[-1], state)
        self.plot("loss", value[0], train=True)
        return value, grads

    @nn.nowrap
    def validation_step(self, params: Any, batch: Any, state: Any) -> None:
        """Plots the loss and the accuracy of a batch."""
        inputs, y = batch[:-1], batch[-1]
        value = self.loss(params, inputs, y, state)
        self.plot("loss", value[0] if isinstance(value, tuple) else value, train=False)
        self.plot("acc", self.accuracy(params, inputs, y, state), train=False)


_FIELDS = frozenset({"lr", "num_classes", "training", "initializer"})


def _take_positions(cls: type) -> None:
    """Lets a class take its own fields by position, before those that it inherits."""
    fields: Any = getattr(cls, "__dataclass_fields__")  # noqa: B009
    order: dict[str, None] = {}
    for base in reversed(cls.__mro__[: cls.__mro__.index(Classifier)]):
        order |= dict.fromkeys(base.__dict__.get("__annotations__", {}))
    order |= dict.fromkeys(fields)
    names = [n for n in order if n in fields and fields[n].init]
    names = [n for n in names if n not in ("parent", "name")]
    make: Any = cls.__dict__["__init__"]

    @functools.wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__} takes {len(names)} arguments at most")
        given = dict(zip(names, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{cls.__name__} got {sorted(twice)} twice")
        make(self, **given, **kwargs)

    setattr(cls, "__init__", __init__)  # noqa: B010


def logits_of(params: Any, inputs: Any, state: Any, training: bool) -> tuple[Any, Any]:
    """Applies a state's network.

    Returns:
      Logits `(N, K) float32`, and the mutable collections after it.
    """
    return _apply(
        params,
        tuple(inputs),
        collections(state),
        getattr(state, "dropout_rng", None),
        apply_fn=state.apply_fn,
        training=training,
    )


# `training` is a field of the network that `apply_fn` belongs to.
@functools.partial(jax.jit, static_argnames=("apply_fn", "training"))
def _apply(
    params: Any,
    inputs: Any,
    model_state: Any,
    key: Any,
    *,
    apply_fn: Any,
    training: bool,
) -> tuple[Any, Any]:
    logits, updates = apply_fn(
        {"params": params, **model_state},
        *inputs,
        mutable=list(model_state) if training else [],
        rngs={"dropout": key} if key is not None else None,
    )
    return logits.reshape(-1, logits.shape[-1]).astype(jnp.float32), updates
