"""Facts: what is known of the user and the persona, each from a quoted span of a message."""
