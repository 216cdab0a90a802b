"""The only door between capture and load: chunks of raw mutations with their place in the source."""
