"""Systems that generate the latents or codes of a trained autoencoder."""
