"""Autoencoders of audio: VAE, EnCodec, DAC, and their quantisers."""
