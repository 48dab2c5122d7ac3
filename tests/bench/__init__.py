"""How fast explanations and training are compared with other packages: `make bench` (docs/explaining/speed.md)."""
