"""One Hydra entry point per command; thin, everything of substance lives in the rooms."""
