from framework import aliases

aliases.install()
