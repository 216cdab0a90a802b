"""What could not be applied, as people see it, and how it comes back: listing, decoding, replaying, discarding."""
