"""EnCodec and DAC against the numbers of their official implementations, and what a codec has to hold to."""

import copy
import math

import lightning as L
import pytest
import torch
from reference.weights import load_reference, official_state
from torch.utils.data import DataLoader

from framework.generators.codecs.codec import BitrateError
from framework.generators.codecs.dac import DAC, DACDecoder, DACEncoder, DACNetwork
from framework.generators.codecs.encodec import Encodec, EncodecNetwork
from framework.generators.codecs.quantisation import EMACodebook, FactorisedCodebook, ResidualQuantiser, perplexity
from framework.generators.fourier import SpectrumEncoder
from framework.generators.vocos import VocosDecoder
from framework.losses.balancer import Balancer
from framework.losses.multi_scale_mel import MultiScaleMelLoss
from framework.paradigms.adversarial import StepState
from framework.runs.importers import load_official


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


class TinyDAC(DAC):
    mel = "hifigan_22k"
    encoder_channels = 4
    decoder_channels = 32
    rates = (2, 4)
    n_codebooks = 3
    codebook_size = 16
    codebook_dim = 4

    def build_discriminators(self):
        return {}


class TinyEncodec(Encodec):
    mel = "hifigan_22k"
    channels = 4
    rates = (4, 2)
    latent_dim = 8
    n_codebooks = 3
    codebook_size = 8
    trained_codebooks = (1, 3)

    def build_discriminators(self):
        return {}


class TinySpectral(TinyDAC):
    def build_encoder(self, outputs):
        return SpectrumEncoder(outputs, 8, 8, 16, 2)

    def build_decoder(self, inputs):
        return VocosDecoder(inputs, 8, 8, 16, 2)


TINY = [TinyDAC, TinyEncodec, TinySpectral]


def dac_network(encoder_channels, decoder_channels, rates, codebooks, codebook_size):
    latents = encoder_channels * 2 ** len(rates)
    books = [FactorisedCodebook(latents, codebook_size, 8) for _ in range(codebooks)]
    decoder = DACDecoder(latents, decoder_channels, rates[::-1])
    encoder = DACEncoder(encoder_channels, rates, latents)
    return DACNetwork(encoder, ResidualQuantiser(books), decoder, math.prod(rates))


@torch.no_grad()
def test_encodec_equals_official():
    reference = load_reference("encodec_24k")
    network = EncodecNetwork().eval()
    assert parameters(network) == 14_851_810
    load_official(network, official_state(reference["keys"]))
    network.n_codebooks = 8
    codes = network.encode(reference["x"])
    assert torch.equal(codes, reference["codes"][0])
    torch.testing.assert_close(network.decode(codes)[..., :2000], reference["out"], atol=1e-5, rtol=0)
    audio, quantised = network(reference["x"], torch.tensor([8]))
    assert torch.equal(quantised.codes, codes)
    torch.testing.assert_close(audio, reference["out"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_dac_equals_official():
    reference = load_reference("dac_small")
    network = dac_network(8, 96, (2, 4, 8, 8), 3, 64).eval()
    load_official(network, {"state_dict": official_state(reference["keys"]), "metadata": {}})
    audio, quantised = network(reference["x"])
    assert torch.equal(quantised.codes, reference["codes"])
    # Random weights make latents of 1e5, and the squares of those.
    torch.testing.assert_close(quantised.commitment.sum(), reference["commit"], rtol=1e-5, atol=0)
    torch.testing.assert_close(quantised.codebook.sum(), reference["cb"], rtol=1e-5, atol=0)
    torch.testing.assert_close(quantised.latent, reference["z"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(audio, reference["audio"], atol=1e-5, rtol=0)
    first, _ = network(reference["x"], torch.tensor([1]))
    # They drive the tanh to 2e5, of which one float32 rounding is 0.02: one sample is not saturated.
    assert ((first - reference["audio_q1"]).abs() > 1e-5).sum() <= 1


@pytest.mark.parametrize(("rates", "books", "size"), [((2, 4, 8, 8), 9, 76_651_890), ((2, 4, 5, 8), 32, 74_708_706)])
def test_dac_has_the_published_size(rates, books, size):
    with torch.device("meta"):
        network = dac_network(64, 1536, rates, books, 1024)
    assert parameters(network) == size


def test_dac_mel_loss_equals_official():
    reference = load_reference("dac_losses")
    loss = MultiScaleMelLoss(reference["sr"])(reference["a"], reference["b"])
    assert loss.item() == pytest.approx(reference["mel"], rel=1e-5)


@pytest.fixture(scope="module", params=TINY, ids=lambda system: system.__name__)
def codec(request):
    torch.manual_seed(0)
    system = request.param()
    # Of averaged codebooks a first batch makes more than zeros.
    with torch.enable_grad():
        system.train().generator(0.3 * torch.randn(4, 1, 512))
    return system.eval()


@torch.no_grad()
def test_pieces_are_coded_and_decoded_as_the_whole(codec):
    frame = codec.network.samples_per_frame
    audio = 0.3 * torch.randn(2, 1, 150 * frame + 3)
    codes = codec.encode(audio)
    assert codes.shape == (2, 3, 151)
    for piece in (20 * frame, 64 * frame):
        pieces = codec.network.stream_encode(iter(audio.split(piece, dim=-1)))
        assert torch.equal(torch.cat(list(pieces), dim=-1), codes)
    whole = codec.decode(codes)
    assert whole.shape[-1] == 151 * frame
    for piece in (1, 17, 200):
        parts = list(codec.network.stream_decode(iter(codes.split(piece, dim=-1))))
        torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_fewer_codebooks_are_a_lower_bitrate(codec):
    rate = codec.book_rate
    assert rate == pytest.approx(22.05 / 8 * math.log2(codec.codebook_size))
    assert [codec.books_of(n * rate) for n in (0, 1, 2, 3)] == [3, 1, 2, 3]
    with pytest.raises(BitrateError, match=f"has {rate:.3g}, {2 * rate:.3g}, {3 * rate:.3g}$"):
        codec.books_of(1.5 * rate)
    audio = torch.randn(1, 1, 400)
    every = codec.encode(audio)
    lower = type(codec)(bitrate=2 * rate)
    lower.load_state_dict(codec.state_dict())
    assert torch.equal(lower.eval().encode(audio), every[:, :2])


def test_training_has_the_terms_of_its_recipe_and_reaches_encoder_and_codes(codec):
    system = type(codec)().train()
    audio = 0.1 * torch.randn(4, 1, 1200)
    terms = system.generator_losses(StepState({"audio": audio, "key": list("abcd")}, audio))
    sum(system.loss_weight(name) * term for name, term in terms.items()).backward()
    assert {"commitment", "mel"} < set(terms)
    encoder, decoder = system.generator.encoder, system.generator.decoder
    for network in (encoder, decoder, *system.generator.quantiser.layers[:1]):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert any(p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_the_use_of_codebooks_over_all_held_out_clips_is_logged(codec):
    clips = [{"audio": 0.3 * torch.randn(1, 1, 1600), "key": [name]} for name in "ab"]
    trainer = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", num_sanity_val_steps=0)
    trainer.validate(codec, DataLoader(clips, batch_size=None), verbose=False)
    codes = torch.cat([codec.encode(clip["audio"]) for clip in clips], dim=-1)[0]
    use = sum(len(book.unique()) for book in codes) / 3 / codec.codebook_size
    assert trainer.callback_metrics["validation/codebook_use"].item() == pytest.approx(use)
    assert 1 <= trainer.callback_metrics["validation/codebook_perplexity"] <= codec.codebook_size


def test_dropped_codebooks_neither_add_nor_learn():
    torch.manual_seed(0)
    quantiser = ResidualQuantiser([FactorisedCodebook(6, 8, 2) for _ in range(3)])
    latent = torch.randn(2, 6, 5)
    both = quantiser(latent, torch.tensor([1, 3]))
    torch.testing.assert_close(both.latent[0], quantiser(latent[:1], 1).latent[0])
    torch.testing.assert_close(both.latent[1], quantiser(latent[1:], 3).latent[0])
    torch.testing.assert_close(both.commitment[1:], quantiser(latent[1:], 3).commitment[1:] / 2)
    torch.testing.assert_close(quantiser.decode(both.codes)[1], both.latent[1], atol=1e-5, rtol=1e-5)


def test_averaged_codes_go_to_the_means_of_what_falls_to_them():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    book = EMACodebook(2, 4, decay=0.9).train()
    for _ in range(60):
        vectors = centres[torch.randint(4, (1, 200))] + torch.randn(1, 200, 2)
        book(vectors.transpose(1, 2))
        book.learn()
    vectors = centres[torch.randint(4, (1, 20_000))] + torch.randn(1, 20_000, 2)
    means, counts = book.sums(vectors[0], book.nearest(vectors[0]))
    torch.testing.assert_close(book.embed, means / counts[:, None], atol=0.3, rtol=0)
    before = book.embed.clone()
    with torch.no_grad():
        book(vectors.transpose(1, 2))
    book.eval()(vectors.transpose(1, 2))
    book.learn()
    assert torch.equal(book.embed, before)


def test_averaged_codes_learn_the_same_from_parts_and_nothing_from_what_is_not_finite():
    torch.manual_seed(0)
    books = [EMACodebook(2, 4).train() for _ in range(2)]
    for book in books:
        book(torch.full((2, 2, 10), float("nan")))
        book.learn()
    assert not any(book.inited for book in books)
    first, latent = torch.randn(4, 2, 100), torch.randn(4, 2, 100)
    for book in books:
        torch.manual_seed(1)
        book(first)
        book.learn()
    books[0](latent)
    for part in latent.split(1):
        books[1](part)
    for book in books:
        book.learn()
    assert books[0].embed.isfinite().all()
    torch.testing.assert_close(books[0].state_dict(), books[1].state_dict())


def test_a_share_of_the_clips_has_fewer_books_however_few_there_are(monkeypatch):
    system, fewer = TinyDAC(quantiser_dropout=0.5, n_codebooks=16), 0
    for step in range(400):
        monkeypatch.setattr(TinyDAC, "global_step", step)
        drawn = []
        # Two devices, whose averages would wait for each other for ever if they used other codebooks.
        for seed in (step, 1000 + step):
            torch.manual_seed(seed)
            drawn.append(int(system.draw_books(1)))
            assert (system.draw_books(4)[2:] == 16).all()
        assert drawn[0] == drawn[1]
        fewer += drawn[0] < 16
    # Half, of which a sixteenth draws all.
    assert 150 < fewer < 225


def test_codes_are_looked_up_in_full_precision_whatever_the_autocast():
    torch.manual_seed(0)
    for book in (EMACodebook(8, 64), FactorisedCodebook(8, 64, 8)):
        codes = book.embed if isinstance(book, EMACodebook) else book.codebook.weight
        torch.nn.init.normal_(codes)
        vectors = torch.randn(1, 500, 8)
        vectors = vectors if isinstance(book, EMACodebook) else vectors.transpose(1, 2)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            lower = book.nearest(vectors)
        assert torch.equal(lower, book.nearest(vectors))


def test_codes_that_nothing_falls_to_are_given_to_what_there_is():
    torch.manual_seed(0)
    book = EMACodebook(2, 4, decay=0.5).train()
    book(torch.full((1, 2, 100), 50.0))
    for _ in range(12):
        book(torch.randn(1, 2, 100))
        book.learn()
    _, counts = book.sums(vectors := torch.randn(400, 2), book.nearest(vectors))
    assert counts.min() > 20


def test_perplexity_is_the_number_of_codes_in_equal_use():
    assert perplexity(torch.tensor([[5.0, 5, 0, 0], [3, 3, 3, 3], [0, 7, 0, 0]])).tolist() == pytest.approx([2, 4, 1])


def test_balanced_losses_have_the_share_of_the_gradient_that_their_weights_say():
    fake = torch.ones(2, 1, 3, requires_grad=True)
    terms = {"small": 1e-3 * fake.sum(), "great": 1e3 * (fake * torch.tensor([1.0, 0, 0])).sum()}
    balancer = Balancer(["small", "great"])
    balancer.weigh(fake, terms, {"small": 1.0, "great": 3.0}.get)
    lengths = []
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(balancer.weights[name] * term, fake)
        lengths.append(gradient.flatten(1).norm(dim=1).mean().item())
    assert lengths == pytest.approx([0.25, 0.75])
    # Two halves, averaged, are the whole; what is not finite once is forgotten.
    terms = {"small": 1e-3 * fake.sum(), "great": 1e3 * (fake * torch.tensor([1.0, 0, 0])).sum()}
    half = Balancer(["small", "great"])
    half.weigh(fake, {name: 2 * term for name, term in terms.items()}, {"small": 1.0, "great": 3.0}.get, parts=2)
    torch.testing.assert_close(half.weights, balancer.weights)
    before = copy.deepcopy(half.state_dict())
    half.weigh(fake, {"small": fake.sum() * float("inf")}, {"small": 1.0}.get)
    assert all(torch.equal(value, before[name]) for name, value in half.state_dict().items())


def test_a_codec_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must be from 1"):
        TinyDAC(n_codebooks=0)
    with pytest.raises(ValueError, match="there are 3 codebooks"):
        TinyEncodec(trained_codebooks=(4,))
