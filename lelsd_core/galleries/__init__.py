"""The directions that come with a generator: found and cached locally, fetched from the Hub, published."""
