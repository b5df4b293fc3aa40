"""Traced programs as bytes, which another process uses instead of tracing the same function again.

The bytes are a line of JSON, and a ``GraphDef`` with the functions that the program consists of. It can be
stored if all tensors that it captures are variables that the other process has, too, because the values of
captured tensors are not a part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import context

from metalearn.types import Structure

Variables = Mapping[str, keras.Variable]


def exported(program: Any, variables: Variables, facts: Mapping[str, Any]) -> bytes | None:
    """Return a traced program as bytes, or None if it captures other tensors than ``variables``.

    Args:
        program: a concrete function of TensorFlow.
        variables: the variables that it may read and update, by name.
        facts: plain data that is stored with the program, see :func:`facts_of`.
    """
    names = {id(variable.value.handle): name for name, variable in variables.items()}
    captured = [names.get(id(tensor)) for tensor in program.captured_inputs]
    if None in captured:
        return None
    library = program.graph.as_graph_def().library
    library.function.append(program.inference_fn.definition)
    definition = tf.compat.v1.GraphDef(versions=program.graph.graph_def_versions, library=library)
    # By content, because every process numbers its functions from the same start, and because XLA's cache
    # knows a program by its name, too.
    content = hashlib.sha256(definition.SerializeToString(deterministic=True)).hexdigest()
    _rename(definition, [f"traced_{content[:16]}_{place}" for place, _ in enumerate(library.function)])
    head = {
        "facts": facts,
        "name": definition.library.function[-1].signature.name,
        "captured": captured,
        "results": len(program.outputs),
        "names": list(returned) if isinstance(returned := program.structured_outputs, dict) else None,
    }
    return json.dumps(head).encode() + b"\n" + definition.SerializeToString(deterministic=True)


def facts_of(content: bytes) -> dict[str, Any]:
    """Return the plain data that is stored with a program."""
    facts: dict[str, Any] = json.loads(content.partition(b"\n")[0])["facts"]
    return facts


def imported(
    content: bytes, like: Callable[..., Structure] | None, variables: Variables
) -> Callable[..., Structure]:
    """Return a stored program as a function for eager execution.

    Args:
        content: the result of :func:`exported`.
        like: returns any structure that equals that of the results, given the arguments; None if they are a
            dict of tensors, whose names are stored.
        variables: the variables of this process.
    """
    line, _, definition = content.partition(b"\n")
    head = json.loads(line)
    with tf.init_scope():  # where importing a graph defines its functions for eager execution
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(definition), name="")
    captured = [variables[name].value.handle for name in head["captured"]]

    def call(*arguments: Structure) -> Structure:
        inputs = [*tf.nest.flatten(arguments), *captured]
        outputs = context.context().call_function(head["name"].encode(), inputs, head["results"])
        shape = dict.fromkeys(head["names"]) if like is None else like(*arguments)
        return tf.nest.pack_sequence_as(shape, outputs)

    return call


def without_counters(definition: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Return a graph without the numbers in it that depend on what else the process has traced.

    These are in the names of functions, of nodes (from Keras' names of layers), and of custom derivatives.
    """
    _rename(definition, [f"function_{place}" for place, _ in enumerate(definition.library.function)])
    for node in _nodes(definition):
        node.attr.pop("_gradient_op_type", None)
        node.attr.pop("_class", None)  # names of nodes
    _number(definition.node)
    for function in definition.library.function:
        returned = {**function.ret, **function.control_ret}
        new = _number(function.node_def)
        for name, place in returned.items():
            holder = function.ret if name in function.ret else function.control_ret
            holder[name] = _renamed(place, new)
    return definition


def _number(nodes: Iterable[Any]) -> dict[str, str]:
    """Give nodes their place as name; return the new names by the old ones."""
    new = {node.name: f"node_{place}" for place, node in enumerate(nodes)}
    for node in nodes:
        node.name = new[node.name]
        node.input[:] = [_renamed(name, new) for name in node.input]
    return new


def _renamed(place: str, new: Mapping[str, str]) -> str:
    """Return ``name``, ``name:output:number`` or ``^name`` with the new name of the node."""
    control = place[: place.startswith("^")]
    name, colon, output = place[len(control) :].partition(":")
    return f"{control}{new.get(name, name)}{colon}{output}"


def _rename(definition: tf.compat.v1.GraphDef, names: Iterable[str]) -> None:
    """Give the functions of a graph other names, in order."""
    functions = definition.library.function
    new = dict(zip((function.signature.name for function in functions), names, strict=True))
    for function in functions:
        function.signature.name = new[function.signature.name]
    for value in (value for node in _nodes(definition) for value in node.attr.values()):
        for called in (value.func, *value.list.func):
            if called.name in new:
                called.name = new[called.name]


def _nodes(definition: tf.compat.v1.GraphDef) -> list[Any]:
    within = (node for function in definition.library.function for node in function.node_def)
    return [*definition.node, *within]
