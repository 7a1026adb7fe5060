"""What is expected of images of choices, against Bayes' rule with every image written out."""

import itertools

import pytest
import torch

from framework.paradigms.categorical import PredictCategories

GROUPS, PITCHES, ROWS = (2, 1), 3, 2
SIGNAL, SIGMA = 0.6, 0.8


def posterior(prior, rest, noisy):
    """Return all images of a row (images, channels, pitch) and their log probabilities, of both groups."""
    found = []
    for choices, channels in ((voices(), slice(0, 2)), (singles(), slice(2, 3))):
        images = torch.stack(choices)
        chosen = (images > 0).float()
        # A rest's own logit counts in a voice; a place by itself is compared with its absence.
        weight = (chosen * prior[channels]).sum((1, 2))
        if channels.start == 0:
            weight = weight + (chosen.sum((1, 2)) == 0) * rest
        density = -((noisy[channels] - SIGNAL * images) ** 2).sum((1, 2)) / (2 * SIGMA**2)
        found.append((images, (weight + density).log_softmax(0)))
    return found


def voices():
    empty = torch.full((2, PITCHES), -1.0, dtype=torch.float64)
    ones = [empty.clone().index_put_((torch.tensor(c), torch.tensor(p)), torch.tensor(1.0, dtype=torch.float64))
            for c, p in itertools.product(range(2), range(PITCHES))]  # fmt: skip
    return [*ones, empty]


def singles():
    return [torch.tensor([places], dtype=torch.float64) for places in itertools.product((-1.0, 1.0), repeat=PITCHES)]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_clean_image_is_the_mean_of_the_posterior(temperature):
    torch.manual_seed(0)
    objective = PredictCategories(GROUPS, temperature)
    assert objective.outputs == 4
    predicted = torch.randn(1, 4, ROWS, PITCHES, dtype=torch.float64)
    noisy = torch.randn(1, 3, ROWS, PITCHES, dtype=torch.float64)
    found = objective.clean(predicted, noisy, SIGNAL, SIGMA)
    for row in range(ROWS):
        prior = predicted[0, :, row] / temperature
        groups = posterior(prior[:3], prior[3].mean(), noisy[0, :, row])
        mean = torch.cat([(images * log.exp()[:, None, None]).sum(0) for images, log in groups])
        torch.testing.assert_close(found[0, :, row], mean)


def test_the_loss_is_the_surprise_at_what_was_chosen():
    torch.manual_seed(1)
    clean = torch.stack([torch.cat([voices()[4], singles()[5]]), torch.cat([voices()[-1], singles()[2]])], 1)[None]
    noise = torch.randn_like(clean)
    predicted = torch.randn(1, 4, ROWS, PITCHES, dtype=torch.float64)
    loss = PredictCategories(GROUPS).loss(predicted, clean, noise, SIGNAL, SIGMA, torch.nn.functional.mse_loss)
    surprise = 0.0
    for row, truth in enumerate(((4, 5), (-1, 2))):
        noisy = SIGNAL * clean[0, :, row] + SIGMA * noise[0, :, row]
        groups = posterior(predicted[0, :3, row], predicted[0, 3, row].mean(), noisy)
        surprise -= sum(float(log[number]) for (_, log), number in zip(groups, truth, strict=True))
    assert float(loss) == pytest.approx(surprise / ROWS)
