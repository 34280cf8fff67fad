"""OpenAI's API: the routes that clients of it call, in its words and with its errors."""
