"""Rules as Keras optimizers, for training an ordinary model by ``fit``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn.autodiff.gradients import dense
from metalearn.nest import names
from metalearn.nn.names import named_variables
from metalearn.rules.lookup import get
from metalearn.rules.records import Record, arguments
from metalearn.types import Parameters, Rule, Structure

RECORD = "rule"
"""The key by which a record is recognised in a configuration."""


def to_keras(
    rule: str | Rule, values: Structure = None, model: keras.Model | None = None, name: str = "rule"
) -> keras.optimizers.Optimizer:
    """Return a Keras optimizer that makes the updates of a rule.

    ::

        model.compile(ml.rules.to_keras(rule, trainer.meta["rule"]), loss)
        model.fit(x, y)

    If the rule is one of :mod:`metalearn.rules`, wrapped or not, the optimizer is saved with a model, and can
    be loaded after this package has been imported. Keras' callbacks cannot set its learning rate. It does not
    clip or average; wrap the rule for that.

    Args:
        rule: any rule, or its name.
        values: its learned hyperparameters, structured as ``rule.learnable`` returns them; not needed if
            nothing is learned.
        model: the model to train; needed only if something is learned for each variable, to identify the
            variables.
        name: of the optimizer.

    Raises:
        ValueError: if ``rule`` is not a rule, or ``values`` do not fit it; in the first step, if the values
            do not fit the variables of the model.
    """
    keys = None
    if model is not None:
        known = {id(each.variable): each.key for each in named_variables(model)}
        keys = [known[id(variable)] for variable in model.trainable_variables]
    return RuleOptimizer(get(rule), {} if values is None else values, keys, name=name)


@keras.saving.register_keras_serializable("metalearn")
class RuleOptimizer(keras.optimizers.Optimizer):
    """The optimizer of a rule, made by :func:`to_keras`.

    Args:
        rule: the rule.
        values: its learned hyperparameters.
        keys: names of the variables, in the order of ``model.trainable_variables``, or None.
        name: of the optimizer.
    """

    def __init__(
        self, rule: Rule, values: Structure, keys: Sequence[str] | None = None, name: str = "rule"
    ) -> None:
        needed = rule.learnable({})
        if isinstance(needed, dict) and (not isinstance(values, dict) or set(values) != set(needed)):
            has = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ValueError(
                f"{rule!r} learns {sorted(needed) or 'nothing'}, but values have {has}: give what was "
                "learned, such as trainer.meta['rule']"
            )
        super().__init__(learning_rate=1.0, name=name)
        self._rule = rule
        self._values = tf.nest.map_structure(np.asarray, values)
        self._keys = None if keys is None else list(keys)

    @property
    def learning_rate(self) -> Any:
        """Always 1: the learning rate is part of the rule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        raise ValueError(
            f"the rate of this optimizer is that of {self._rule!r}: change the rule's rate, or use a "
            "schedule, and omit callbacks that set learning_rate"
        )

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state of the rule for these variables.

        Raises:
            ValueError: if the learned values do not fit them, or they are distributed over devices.
        """
        if self.built:
            return
        if tf.distribute.has_strategy():
            raise ValueError(
                "a rule updates all variables together and does not support tf.distribute: leave "
                "the strategy out"
            )
        parameters = self._named(variables, variables)
        self._require_fit(parameters)
        super().build(variables)
        self._state = tf.nest.map_structure(self._variable_of, self._rule.init(parameters))

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Take one step of the rule.

        Raises:
            ValueError: if the variables are not those of the first call, or one has no gradient.
        """
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        if not self.built:
            self.build(variables)
        if list(map(id, variables)) != list(map(id, self._trainable_variables)):
            raise ValueError(
                "the variables are not those of this optimizer's first call: make another, ml.rules.to_keras"
            )
        absent = [each.path for each, gradient in zip(variables, grads, strict=True) if gradient is None]
        if absent:
            raise ValueError(
                f"{', '.join(absent)} has no gradient, but a rule updates all variables together: the loss "
                "has to depend on it, or it has to be frozen (trainable = False)"
            )
        moved, state = self._rule.update(
            self._named(variables, dense(list(grads))),
            tf.nest.map_structure(tf.convert_to_tensor, self._state),
            self._named(variables, variables),
            tf.nest.map_structure(tf.constant, self._values),
            tf.cast(self._iterations, tf.int32),
        )
        for variable, after in zip(variables, self._unnamed(variables, moved), strict=True):
            variable.assign(after if variable.constraint is None else variable.constraint(after))
        tf.nest.map_structure(lambda variable, after: variable.assign(after), self._state, state)
        self._iterations.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the optimizer.

        Raises:
            ValueError: if the rule is not part of this package.
        """
        values = keras.saving.serialize_keras_object(self._values)
        return {"rule": _encoded(self._rule), "values": values, "keys": self._keys, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RuleOptimizer:
        """Return the optimizer of a configuration."""
        values = keras.saving.deserialize_keras_object(config["values"])
        return cls(_decoded(config["rule"]), values, config["keys"], config["name"])

    def _names(self, variables: Sequence[Any]) -> list[str]:
        if self._keys is None:
            return [f"{index:06d}" for index in range(len(variables))]
        if len(self._keys) != len(variables):
            raise ValueError(
                f"to_keras was given a model with {len(self._keys)} trainable variables, "
                f"{', '.join(self._keys)}, but there are {len(variables)} to train: give it this model"
            )
        return self._keys

    def _named(self, variables: Sequence[Any], leaves: Sequence[Any]) -> Parameters:
        tensors = map(tf.convert_to_tensor, leaves)
        return dict(zip(self._names(variables), tensors, strict=True))

    def _unnamed(self, variables: Sequence[Any], parameters: Parameters) -> list[tf.Tensor]:
        return [parameters[key] for key in self._names(variables)]

    def _require_fit(self, parameters: Parameters) -> None:
        """Raise ValueError unless the learned values belong to these variables, and this is known."""
        needed = self._rule.learnable(parameters)
        first = dict([next(iter(parameters.items()))])
        if self._keys is None and _shapes(needed) != _shapes(self._rule.learnable(first)):
            raise ValueError(
                f"the learned values of {type(self._rule).__name__} differ by variable: pass the model, "
                "to_keras(rule, values, model)"
            )
        expected, found = _shapes(needed), _shapes(self._values)
        wrong = sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
        if wrong:
            path = wrong[0]
            raise ValueError(
                f"values do not fit the variables {', '.join(parameters)}: {path} has the shape "
                f"{found.get(path, 'of nothing')}, and {expected.get(path, 'nothing')} is needed; give the "
                "model that they were learned for, or values that do not depend on the model"
            )

    def _variable_of(self, leaf: tf.Tensor) -> keras.Variable:
        variable = self.add_variable(tuple(leaf.shape), "zeros", leaf.dtype.name, name="state")
        variable.assign(leaf)
        return variable


def _shapes(structure: Structure) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(leaf.shape)
        for name, leaf in zip(names(structure), tf.nest.flatten(structure), strict=True)
    }


def _encoded(setting: Any) -> Any:
    """Return a setting of a rule in a form that JSON can store."""
    if isinstance(setting, Record):
        if getattr(_exported(), type(setting).__name__, None) is not type(setting):
            raise ValueError(
                f"{setting!r} is not a rule of metalearn.rules, so its configuration cannot be stored: save "
                "only weights, and create the optimizer again with to_keras"
            )
        fields = {name: _encoded(value) for name, value in arguments(setting).items()}
        return {RECORD: type(setting).__name__, "settings": fields}
    if isinstance(setting, (list, tuple)):
        return [_encoded(each) for each in setting]
    if isinstance(setting, keras.optimizers.schedules.LearningRateSchedule):
        return keras.saving.serialize_keras_object(setting)
    if setting is None or isinstance(setting, (bool, int, float, str, np.generic)):
        return setting.item() if isinstance(setting, np.generic) else setting
    raise ValueError(f"{setting!r} has no configuration that could be stored: create the optimizer again")


def _decoded(setting: Any) -> Any:
    if isinstance(setting, dict) and RECORD in setting:
        made = getattr(_exported(), setting[RECORD])
        return made(**{name: _decoded(value) for name, value in setting["settings"].items()})
    if isinstance(setting, dict):
        return keras.saving.deserialize_keras_object(setting)
    return [_decoded(each) for each in setting] if isinstance(setting, list) else setting


def _exported() -> Any:
    # Imported here, since this module is part of the package.
    return importlib.import_module("metalearn.rules")
