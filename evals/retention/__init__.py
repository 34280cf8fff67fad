"""Does it remember? Facts told, changed and taken back in chats made from seeds, then asked for."""
