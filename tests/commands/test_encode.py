"""`ostinato encode` and `ostinato decode` of a codec that knows nothing yet."""

import numpy as np
import pytest
import soundfile
import torch

from framework.audio.coded_files import CodedFileError, read_header
from framework.audio.files import AudioFileError, save_pieces
from framework.cli import main
from framework.generators.codecs.dac import DAC
from framework.outputs import OutputError
from framework.workflow import coding
from framework.workflow.coding import check_model, coded, decode_by, encode_by, header_of


class TinyDAC(DAC):
    mel = "hifigan_22k"
    encoder_channels = 4
    decoder_channels = 32
    rates = (2, 4)
    n_codebooks = 3
    codebook_size = 12
    codebook_dim = 4

    def build_discriminators(self):
        return {}


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return TinyDAC().eval()


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "in.wav"
    audio = 0.3 * np.random.default_rng(0).standard_normal(2 * 22050 + 5)
    soundfile.write(path, audio.clip(-1, 1), 22050)
    return path


def test_what_is_decoded_is_what_the_codec_makes_of_the_whole(codec, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(coding, "PIECE", 5000)
    encode_by(codec, recording, tmp_path / "a.ost")
    header = read_header(tmp_path / "a.ost")
    assert (header.books, header.bits, header.samples, header.samples_per_frame) == (3, 4, 44105, 8)
    assert (tmp_path / "a.ost").stat().st_size < 44105 / 8 * 1.5 + 400
    done = decode_by(codec, tmp_path / "a.ost", tmp_path / "b.wav")
    assert (done.path, round(done.header.bitrate, 2)) == (tmp_path / "b.wav", 33.08)
    audio = torch.from_numpy(soundfile.read(recording, dtype="float32")[0]).view(1, 1, -1)
    made, rate = soundfile.read(tmp_path / "b.wav", dtype="float32")
    assert rate == 22050
    np.testing.assert_allclose(made, codec.generate({"audio": audio})[0, 0].numpy(), atol=4e-5)


def test_a_recording_is_not_written_over(codec, recording):
    before = recording.read_bytes()
    with pytest.raises(OutputError, match=r"in.wav: such a file cannot be written: name a .ost file, or a folder"):
        encode_by(codec, recording, recording)
    assert recording.read_bytes() == before


def test_another_networks_codes_are_refused(codec):
    torch.manual_seed(1)
    header = header_of(TinyDAC(), "TinyDAC", 80)
    with pytest.raises(CodedFileError, match=r"a.ost was coded by another network \(TinyDAC"):
        check_model("a.ost", header, codec)
    check_model("a.ost", header_of(codec, "TinyDAC", 80), codec)


def test_lower_bitrates_have_the_first_codes(codec):
    audio = torch.randn(1, 1, 400)
    every = np.concatenate(list(coded(codec, audio)))
    codec.network.n_codebooks = 1
    first = np.concatenate(list(coded(codec, audio)))
    codec.network.n_codebooks = 3
    assert np.array_equal(every[:, :1], first)


def test_mistakes_are_one_line(capsys, tmp_path):
    with pytest.raises(AudioFileError, match=r"no 16-bit format '.mp3': name a .wav"):
        save_pieces(tmp_path / "song.mp3", [torch.zeros(9)], 16000)
    files = ["--input", "x.wav", "--output", "x.ost"]
    assert main(["encode", "codec_bach", *files, "--model.bitrate", "7.3"]) == 2
    assert "no bitrate of 7.3 kbit/s: CodecBach has 0.603, 1.21" in capsys.readouterr().err
    assert main(["encode", "griffin_lim", *files]) == 2
    assert "GriffinLim has no codes" in capsys.readouterr().err
