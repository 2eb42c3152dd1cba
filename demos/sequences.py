r"""Sequences learnt by heart
=========================

A hierarchy of flow maps learns an orbit, a flow, a clip and a piece of music, and generates them from one frame.

Frames :math:`x_0, x_1, \ldots` of a sequence are learnt by maps of several strides s = 1, 4, 16, ...,

.. math:: x_{k + s} = x_k + F_s(x_k), \qquad F_s(x) = A x + b + C \tanh(W x + d) ,

each from the frames 0, s, 2 s, ... alone. W and d are drawn at random, A, b and C are least squares: a second in all.
The sequence is generated from its first frame, the largest stride first; the finer ones fill in. The longest chain has
a few links a stride where a recurrent network has thousands of steps, in which errors grow.

That is the published protocol (Liu, Kutz and Brunton 2022): the same sequence is learnt and reproduced. For the clip it
tests memory: white noise of the same shape is reproduced as well. In place of the others it is not. The frames after
the sequence are held out here: the fluid is periodic and the map of stride 1 alone continues it well, the others
nothing here continues for long. What has learnt continues from any frame, ``found.model.forecast(frames, count)``, and
goes to disk, ``found.model.save(path)``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skfem_ml.compare import Table, compare
from skfem_ml.hits import solver_chosen, solver_hits
from skfem_ml.pictures import colour_bar, figure, grid, shared_norm
from skfem_ml.problems import Sequence, clip, cylinder, music
from skfem_ml.problems.sequences import RATE, cylinder_file
from skfem_ml.reference import kuramoto_sivashinsky, solver_linear, solver_mean

SEQUENCES: dict[str, Callable[..., Sequence]] = {
    "fluid": cylinder,
    "video": clip,
    "music": music,
    "ks": kuramoto_sivashinsky,
}
WIDTHS = {"fluid": 64, "video": 200, "music": 1200, "ks": 1024}  # features of a map, at most
SEED = 0  # of the features that are drawn
SHOWN = 130.0  # the part of the orbit in the picture, units of time


@dataclass
class Result:
    sequences: dict[str, Sequence]
    tables: dict[str, Table]


def compute(frames: int = 4001, widths: dict[str, int] | None = None) -> Result:
    widths = WIDTHS if widths is None else widths
    options = {"ks": {"frames": frames}}
    sequences = {name: make(**options.get(name, {})) for name, make in SEQUENCES.items() if name in widths}
    tables = {
        name: compare(
            sequence,
            {
                "mean": solver_mean(),
                "linear (DMD)": solver_linear(),
                "HiTS": solver_hits(widths[name]),
                "HiTS, one stride": solver_hits(widths[name], (1,), gain=0.3),
                **({"HiTS, chosen": solver_chosen(widths[name])} if name == "fluid" else {}),
            },
        )
        for name, sequence in sequences.items()
    }
    return Result(sequences, tables)


def whole(result: Result, name: str, method: str = "HiTS") -> np.ndarray:
    """Reproduction and continuation of one method, as measured."""
    found = result.tables[name].solutions[method]
    return result.sequences[name].measured(np.concatenate([found.reproduced, found.continued]))


def visualize(result: Result | None = None):
    """The orbit and its error over space and time; the flow; signal and errors."""
    result = compute() if result is None else result
    with figure(14, 13) as picture:
        rows = picture.subfigures(3, 1, height_ratios=(1.2, 0.8, 1))
        _orbit(rows[0].subplots(1, 3), result)
        _flow(rows[1].subplots(1, 3), result)
        _signals(rows[2], result)
    return picture


def _orbit(panels, result: Result) -> None:
    sequence = result.sequences["ks"]
    truth, made = sequence.truth[: sequence.train], whole(result, "ks")[: sequence.train]
    last = min(len(truth), int(SHOWN / sequence.dt))
    style = {"extent": (0, last * sequence.dt, 0, 32 * np.pi), "aspect": "auto", "origin": "lower"}
    top = abs(truth[-last:]).max()
    for axes, field, title in ((panels[0], truth, "Kuramoto-Sivashinsky"), (panels[1], made, "HiTS, reproduced")):
        drawn = axes.imshow(field[-last:].T, vmin=-top, vmax=top, cmap="RdBu_r", **style)
        axes.set_title(title)
    colour_bar(panels[1], drawn, "$u$")
    error = np.maximum(abs(made - truth), 1e-8)[-last:].T
    drawn = panels[2].imshow(error, cmap="magma", norm=shared_norm(error, log=True, decades=5), **style)
    colour_bar(panels[2], drawn, "$|u_{HiTS} - u|$", extend="min")
    panels[2].set_title("error")
    for axes in panels:
        axes.set_xlabel(f"time, the last {last * sequence.dt:g} of {(sequence.train - 1) * sequence.dt:g}")
        axes.set_ylabel("$x$")


def _flow(panels, result: Result) -> None:
    data, sequence = cylinder_file(), result.sequences["fluid"]
    states = sequence.states, whole(result, "fluid", "HiTS, chosen")
    fields = [np.tensordot(one[-1], data["vorticity"], 1) for one in states]
    style = {"extent": (*data["x"][[0, -1]], *data["y"][[0, -1]]), "origin": "lower"}
    for axes, field, title in zip(panels, fields, ("flow, last frame held out", "HiTS, continued"), strict=False):
        drawn = axes.imshow(field, vmin=-3, vmax=3, cmap="RdBu_r", **style)
        axes.set_title(title)
    colour_bar(panels[1], drawn, "vorticity", extend="both")
    error = np.maximum(abs(fields[1] - fields[0]), 1e-6)
    drawn = panels[2].imshow(error, cmap="magma", norm=shared_norm(error, log=True, decades=4), **style)
    colour_bar(panels[2], drawn, "error", extend="min")
    panels[2].set_title("error of the vorticity")
    for axes in panels:
        axes.set_xlabel("$x$ in diameters")
        axes.set_ylabel("$y$ in diameters")


def _signals(row, result: Result) -> None:
    signal, error, later = row.subplots(1, 3)
    sequence, made = result.sequences["music"], whole(result, "music")
    t, part = np.arange(sequence.train) / RATE, slice(int(0.95 * RATE), int(1.1 * RATE))
    signal.plot(t[part], sequence.truth[: sequence.train, 0][part], color="0.75", lw=4, label="exact")
    signal.plot(t[part], made[: sequence.train, 0][part], color="C0", lw=1, label="HiTS, reproduced")
    signal.set(title="BWV 846 around the fourth note", xlabel="time in seconds", ylabel="signal", ylim=(None, 0.62))
    signal.legend(loc="upper right", ncols=2)
    for k, (name, sequence) in enumerate(result.sequences.items()):
        truth, train = sequence.truth, sequence.train
        scale = np.sqrt(((truth[:train] - truth[:train].mean(axis=0)) ** 2).mean())
        gap = np.sqrt(((whole(result, name) - truth) ** 2).mean(axis=1)) / scale
        # Thin lines for long sequences, below the others, which they would hide.
        width = 1.3 if train < 500 else 0.4
        reproduced = np.maximum(gap[:train], 1e-16)
        error.semilogy(np.arange(train) / train, reproduced, color=f"C{k}", lw=width, zorder=2 + width)
        later.loglog(np.arange(1, sequence.held_out + 1), gap[train:], color=f"C{k}", label=name)
    error.set(title="HiTS, reproduction", xlabel="time / length of the sequence", ylabel="relative error")
    later.set(title="HiTS, continuation", xlabel="frames after the sequence", ylabel="relative error", ylim=(1e-4, 1e3))
    later.axhline(1, color="0.3", ls=":", label="the mean (1)")
    row.legend(*later.get_legend_handles_labels(), loc="outside lower right", ncols=5)
    for axes in (signal, error, later):
        grid(axes)


if __name__ == "__main__":
    result = compute()
    for name, table in result.tables.items():
        print(f"{name}: mean squared error is ({table.norms['error reproduced']:.3g} x error)^2\n{table}\n")
    visualize(result).savefig("sequences.png")
    squared = {
        name: (table.norms["error reproduced"] * table["HiTS"].error) ** 2 for name, table in result.tables.items()
    }
    print("mean squared error of the reproduction:", ", ".join(f"{name} {mse:.0e}" for name, mse in squared.items()))
