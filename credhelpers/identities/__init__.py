"""Who we are to a cloud: a module a question, made with the cloud's SDK, and loaded where a token is minted."""
