"""Two versions of a network on the same frames: where their attention moved. `aerocam compare` is its command."""
