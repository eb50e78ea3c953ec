"""Running statistics of normalization beside PyTorch's: several passes, compiled or not."""

import numpy as np
import pytest
import torch
from following import T, channels_first, take_over

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
PIECES = [RNG.normal(k, 1 + k, size=(4, 3, 5, 2)).astype(np.float32) for k in range(3)]
NORMS = {
    "BatchNorm2d": lambda m: m.BatchNorm2d(2, momentum=0.3),
    "BatchNorm2d, all alike": lambda m: m.BatchNorm2d(2, momentum=None),
    "BatchNorm2d of the batch": lambda m: m.BatchNorm2d(2, track_running_stats=False),
    "InstanceNorm2d": lambda m: m.InstanceNorm2d(2, 1e-3, 0.3, True, True),
    "InstanceNorm2d of the sample": lambda m: m.InstanceNorm2d(2, affine=True),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", NORMS)
def test_each_pass_counts_once(name, compiled):
    """Two steps of three passes whose gradients are added, then an evaluation."""
    torch.manual_seed(0)
    theirs = T.Sequential(NORMS[name](T), T.Conv2d(2, 3, 3))
    ours = nn.Sequential(NORMS[name](nn), nn.Conv2d(2, 3, 3))
    take_over(ours, theirs)

    def passes(x):
        for k in range(len(PIECES)):
            (ours(x[k]) ** 2).mean().backward(accumulate=True)

    step = cr.compile(passes) if compiled else passes
    for _ in range(2):
        for p in (*ours.parameters(), *theirs.parameters()):
            p.grad = None
        step(cr.Tensor(np.stack(PIECES)))
        for x in PIECES:
            (theirs(channels_first(x)) ** 2).mean().backward()
    state = cr.interop.torch.to_torch(ours)
    assert state.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(state[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    weight, bias = ours[0].weight, ours[0].bias
    np.testing.assert_allclose(weight.grad.numpy(), theirs[0].weight.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias.grad.numpy(), theirs[0].bias.grad, rtol=1e-4, atol=1e-5)
    found, expected = ours.eval()(PIECES[1]), theirs.eval()(channels_first(PIECES[1]))
    expected = expected.movedim(1, -1).numpy(force=True)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_pass_in_evaluation_or_without_gradients(compiled):
    """Evaluation counts nothing; training without gradients counts, as in PyTorch."""
    norm = nn.BatchNorm2d(2)
    call = cr.compile(norm) if compiled else norm
    norm.eval()
    call(cr.Tensor(PIECES[1]))
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.tolist() == [0, 0]
    norm.train()
    with cr.no_grad():
        call(cr.Tensor(PIECES[1]))
    assert norm.num_batches_tracked.item() == 1
    np.testing.assert_allclose(
        norm.running_mean.numpy(), 0.1 * PIECES[1].mean((0, 1, 2)), rtol=1e-5
    )
