"""pgmpy answers: the pruned mechanism network and the location network as discrete Bayesian networks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuraldbg.inference.noisyor import CLIP, Network

__all__ = ["joint_of_causes", "posterior_of_origin"]

Array = NDArray[np.float64]
STATES = ["off", "on"]


def _pgmpy() -> tuple[Any, Any, Any]:
    """Import what we use of pgmpy; it takes seconds, so only when a diagnosis is asked for."""
    with warnings.catch_warnings():
        # pgmpy imports its own deprecated estimators and warns about them (pgmpy 1.1).
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # In a notebook without ipywidgets tqdm warns that it draws no bars; we ask for none.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from pgmpy.factors.discrete import TabularCPD  # noqa: PLC0415 - the docstring says why
        from pgmpy.inference import VariableElimination  # noqa: PLC0415
        from pgmpy.models import DiscreteBayesianNetwork  # noqa: PLC0415
    return DiscreteBayesianNetwork, TabularCPD, VariableElimination


def joint_of_causes(network: Network) -> Array:
    """Return P(causes | evidence) over all on/off states, shape ``(2,) * M``.

    Parameters
    ----------
    network
        A pruned network: few causes, so that the joint is small.
    """
    model_type, cpd_type, engine_type = _pgmpy()
    model = model_type()
    model.add_nodes_from(network.causes)
    tables = [
        cpd_type(cause, 2, [[1 - p], [p]], state_names={cause: STATES})
        for cause, p in zip(network.causes, network.prior, strict=True)
    ]
    evidence = {}
    for j, event in enumerate(network.events):
        parents = np.flatnonzero(network.links[:, j] > 0)
        names = [network.causes[i] for i in parents]
        node = f"event:{event}"
        model.add_node(node)
        model.add_edges_from((name, node) for name in names)
        tables.append(
            cpd_type(
                node,
                2,
                _event_table(network, j, parents),
                evidence=names or None,
                evidence_card=[2] * len(names) or None,
                state_names={node: STATES} | dict.fromkeys(names, STATES),
            )
        )
        # The node says "seen as it was": its likelihood is what soft evidence weighs.
        evidence[node] = "on"
    model.add_cpds(*tables)
    answer = engine_type(model).query(
        list(network.causes), evidence=evidence, joint=True, show_progress=False
    )
    order = [answer.variables.index(cause) for cause in network.causes]
    values = np.transpose(answer.values, order)
    return np.asarray(values / values.sum(), dtype=np.float64)


def _event_table(network: Network, j: int, parents: NDArray[np.intp]) -> Array:
    """Return P(seen as it was | causes) as a table ``(2, 2^parents)``: the leaky noisy-OR to its weight."""
    quiet = np.full((2,) * len(parents), np.log1p(-network.leak[j]))
    for axis, i in enumerate(parents):
        shape = [1] * len(parents)
        shape[axis] = 2
        quiet = quiet + np.array([0.0, np.log1p(-network.links[i, j])]).reshape(shape)
    absent = np.minimum(quiet.reshape(-1), np.log1p(-CLIP))
    seen = np.log(-np.expm1(absent)) if network.present[j] else absent
    likelihood = np.exp(seen * network.weight[j])
    return np.stack([1.0 - likelihood, likelihood])


def posterior_of_origin(prior: Array, tables: Array, present: NDArray[np.bool_]) -> Array:
    """Return P(origin | findings), shape ``(K,)``.

    Parameters
    ----------
    prior
        Shape ``(K,)``; sums to 1.
    tables
        Shape ``(F, K)``; probability that each finding is present when the origin is there.
    present
        Shape ``(F,)``.
    """
    model_type, cpd_type, engine_type = _pgmpy()
    states = [f"place{k}" for k in range(prior.size)]
    model = model_type()
    model.add_node("origin")
    cpds = [cpd_type("origin", prior.size, prior[:, None], state_names={"origin": states})]
    evidence = {}
    for f, row in enumerate(np.clip(tables, CLIP, 1 - CLIP)):
        node = f"finding{f}"
        model.add_node(node)
        model.add_edge("origin", node)
        cpds.append(
            cpd_type(
                node,
                2,
                np.stack([1 - row, row]),
                evidence=["origin"],
                evidence_card=[prior.size],
                state_names={node: STATES, "origin": states},
            )
        )
        evidence[node] = STATES[int(present[f])]
    model.add_cpds(*cpds)
    answer = engine_type(model).query(["origin"], evidence=evidence, show_progress=False)
    return np.asarray(answer.values, dtype=np.float64)
