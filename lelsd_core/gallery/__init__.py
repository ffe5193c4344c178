"""The directions that come with a generator: `folder` finds and keeps them here, `hub` fetches and publishes them."""
