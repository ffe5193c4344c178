"""Photos in (`intake`), pictures as numbers and files (`image`), edited faces back into their photos (`paste`)."""
