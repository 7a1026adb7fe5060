"""Data to train small systems on in tests."""

import lightning as L
import torch


class Noise(L.LightningDataModule):
    """Batches of noise, the same every time."""

    sample_rate = 22050

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        audio = 0.3 * torch.randn(64, 1, 2048, generator=generator)
        clips = [{"audio": clip, "key": str(i)} for i, clip in enumerate(audio)]
        return torch.utils.data.DataLoader(clips, batch_size=2)

    def advance(self, batch):
        pass
