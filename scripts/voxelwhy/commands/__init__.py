"""The command line `voxelwhy`: ask for a config, check one, or run a study as a BIDS App."""
