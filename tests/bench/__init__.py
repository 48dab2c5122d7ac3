"""How fast the explanations and the training are, beside what others offer: `make bench` (see docs/speed.md)."""
