"""Networks on disk: what is loaded is what was saved, and a file or a network of another kind is told as such."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from skfem_ml.learning import MLP, CorruptModelError, ModelMismatchError, StoredNetwork, load_model, save_model
from skfem_ml.learning.stored import OWN, load_network, require_sizes, save_network


def generator():
    return torch.Generator().manual_seed(3)


class Bumps(StoredNetwork):
    """A network of one's own, made from tensors besides its state: sums of bumps at given points."""

    LIMITS: ClassVar = {"height": 5, "shape": 1000}

    def __init__(self, points: Tensor, height: int, shape: list[list[int]]):
        super().__init__()
        self.points, self.height, self.shape = points, height, shape
        self.weight = nn.Parameter(torch.zeros(len(points), dtype=torch.float32))

    def sizes(self):
        return {"height": self.height, "shape": self.shape}

    def made_of(self):
        return {"points": self.points}

    @classmethod
    def made(cls, sizes, tensors):
        return cls(tensors["points"], **sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.height * torch.exp(-torch.cdist(x, self.points).square()) @ self.weight


def bumps():
    net = Bumps(torch.rand(4, 2, generator=generator()), 2, [[4, 2], [1]])
    with torch.no_grad():
        net.weight.normal_(generator=generator())
    return net


@pytest.mark.parametrize(
    "net", [MLP((2, 3, 1), "silu", generator=generator()), MLP((2, 3, 1), generator=generator()).float(), bumps()]
)
def test_a_network_is_the_same_after_its_file(net, tmp_path):
    path, x = tmp_path / "net.safetensors", torch.rand(5, 2, generator=generator())
    save_network(path, net, {"seed": 3, "kind": "what the file says counts"})
    again, card = load_network(path, (Bumps, MLP))
    assert type(again) is type(net) and again.sizes() == net.sizes()
    assert card == {"seed": 3, "kind": type(net).__name__, "sizes": net.sizes()}
    dtype = next(net.parameters()).dtype
    assert next(again.parameters()).dtype == dtype and torch.equal(again(x.to(dtype)), net(x.to(dtype)))


def test_another_kind_is_told_with_those_wanted(tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, bumps())
    with pytest.raises(ModelMismatchError) as raised:
        load_network(path, (MLP, type("Other", (MLP,), {})))
    assert str(raised.value) == f"{path}: kind: wanted 'MLP or Other', got 'Bumps'; name the class that the file has"
    assert raised.value.wanted == {"kind": "MLP or Other"} and raised.value.got == {"kind": "Bumps"}
    save_model(path, {"w": torch.ones(2)}, {})
    with pytest.raises(ModelMismatchError, match="kind: wanted 'MLP', got None"):
        load_network(path, (MLP,))


def test_a_network_without_sizes_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"expected a network with sizes.*got Linear; keep its weights by learning"):
        save_network(tmp_path / "net.safetensors", nn.Linear(2, 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("entry", "value"),
    [("height", 6), ("height", -1), ("height", True), ("height", 2.0), ("height", "2"), ("shape", [[4], [1001]]),
     ("shape", [[True]]), ("shape", [1] * 1001), ("shape", [[[1]]])],
)  # fmt: skip
def test_sizes_that_a_file_may_not_ask_for(entry, value, tmp_path):
    sizes = {"height": 5, "shape": [[4, 1000], 0]}
    require_sizes(sizes, Bumps.LIMITS)  # the largest and the smallest
    require_sizes({"shape": [1] * 1000}, {"shape": 1})
    with pytest.raises(ValueError, match=rf"{entry}: expected whole numbers up to {Bumps.LIMITS[entry]}, got .*, out"):
        require_sizes({**sizes, entry: value}, Bumps.LIMITS)
    net, path = bumps(), tmp_path / "net.safetensors"
    save_network(path, net)
    tensors, card = load_model(path)
    save_model(path, tensors, {**card, "sizes": {**card["sizes"], entry: value}})
    with pytest.raises(CorruptModelError, match=rf"do not fit the card \(ValueError: {entry}"):
        load_network(path, (Bumps,))


@pytest.mark.parametrize("change", ["missing", "more", "shape", "sizes"])
def test_tensors_that_do_not_fit_the_card(change, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, bumps())
    tensors, card = load_model(path)
    if change == "missing":
        del tensors[f"{OWN}points"]
    elif change == "more":
        tensors["other"] = torch.ones(1)
    elif change == "shape":
        tensors["weight"] = torch.ones(5)
    else:
        del card["sizes"]
    save_model(path, tensors, card)
    with pytest.raises(CorruptModelError, match="the tensors do not fit the card"):
        load_network(path, (Bumps,))
