"""What several test files use: small downloads, networks, settings and studies."""
